"""One command tells a maker of models all that a hospital will see of a bundle."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import EnhancedCTImageStorage
from typer.testing import CliRunner

from dicom_node.catalog import GOLDEN_INPUT, open_bundle, shipped_bundles
from dicom_node.domain.images import SourceImages
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.arrays import read_arrays
from workers.bundle import Golden, write_bundle
from workers.cli import app
from workers.golden import golden_images
from workers.golden_study import save_images
from workers.volume import read_series

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(300)]
SEED = 7_000_005
NEEDS = "memory_gib = 64\nseconds = 600\n"


@pytest.fixture(scope="module")
def shipped() -> Path:
    return next(path for path in shipped_bundles() if path.name == "phantom-lesion")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    save_study(make_study(phantom(SEED, size=128)), folder)
    return folder


@pytest.fixture(scope="module")
def manifest(shipped) -> str:
    text = (shipped / "manifest.toml").read_text()
    return re.sub(r"memory_gib = \S+\nseconds = \S+\n", NEEDS, text)


@pytest.fixture(scope="module")
def packed(tmp_path_factory, shipped, study, manifest) -> Path:
    """What ``dicom-worker package`` makes of the reference model."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "manifest.toml").write_text(manifest)
    done = CliRunner().invoke(
        app,
        [
            "package", str(shipped / "model.keras"), "--manifest", str(folder / "manifest.toml"),
            "--card", str(shipped / "card.md"), "--example", str(study),
            "--output", str(folder / "bundle"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "bundle"


def test_a_folder_that_holds_a_bundle_is_not_packed_into(packed, shipped, study):
    """What the new one lacks would stay of the old one: what its images look like, a signature."""
    before = (packed / "SHA256SUMS").read_bytes()
    done = CliRunner().invoke(
        app,
        [
            "package", str(shipped / "model.keras"), "--manifest", str(packed / "manifest.toml"),
            "--card", str(shipped / "card.md"), "--example", str(study), "--output", str(packed),
        ],
    )  # fmt: skip
    assert "is there already: name a new folder" in str(done.exception)
    assert (packed / "SHA256SUMS").read_bytes() == before


def checked(bundle: Path, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(app, ["check", str(bundle), "--json", *words])
    return done.exit_code, {line["what"]: line for line in json.loads(done.stdout)}


def test_a_packed_bundle_passes(packed, tool):
    tool("dciodvfy")
    status, lines = checked(packed)
    assert status == 0, lines
    heads = {what: line for what, line in lines.items() if what.startswith("golden test")}
    assert len(heads) == 2
    assert "differs by 0.0" in heads["golden test, classification"]["found"]
    well = ("schema", "model", "objects", "report", "time", "peak memory", *heads)
    assert {lines[what]["health"] for what in well} == {"ok"}
    assert "structured-report" in lines["objects"]["found"]
    assert any(what.startswith("explanation") for what in lines)


@pytest.mark.parametrize("path", shipped_bundles(), ids=lambda path: path.name)
def test_a_bundle_that_ships_says_what_it_said_in_a_table_for_people(path):
    done = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.stdout
    assert "golden test, " in done.stdout
    assert "peak memory" in done.stdout


def test_maps_of_images_unlike_those_of_training_tell_nothing_of_the_bundle():
    brain = next(path for path in shipped_bundles() if path.name == "brain-mr-tumour")
    status, lines = checked(brain)
    maps = [line["health"] for what, line in lines.items() if what.startswith("explanation, ")]
    assert (status, set(maps)) == (0, {"note"})  # its golden image is drawn
    assert "--study" in lines["explanation, scope"]["advice"]


def test_a_study_of_ones_own_goes_the_way_of_routing(packed, study, tmp_path):
    status, lines = checked(packed, "--study", str(study))
    assert (status, lines["objects"]["health"]) == (0, "ok")
    assert "24 images" in lines["time"]["found"]
    save_study(make_study(phantom(SEED, size=128), attributes={"Modality": "MR"}), tmp_path)
    status, lines = checked(packed, "--study", str(tmp_path))
    assert (status, "NO_MODEL" in lines["refused"]["found"]) == (1, True)


def test_another_answer_and_more_time_and_memory_than_was_said_fail_each_on_its_line(
    packed, tmp_path, manifest
):
    few = manifest.replace("memory_gib = 64\nseconds = 600", "memory_gib = 0.01\nseconds = 0.01")
    given = read_arrays(packed / "golden" / "input.npz")
    said = dict(read_arrays(packed / "golden" / "expected.npz"))
    said["classification"] = said["classification"] + 1
    bundle = write_bundle(
        tmp_path / "b", few, packed / "model.keras", "", golden=Golden(given, said)
    )
    status, lines = checked(bundle.path)
    bad = {what for what, line in lines.items() if line["health"] == "bad"}
    assert status == 1
    assert {"golden test, classification", "time", "peak memory"} <= bad
    assert "golden test, segmentation" not in bad
    assert "the manifest says 0.01 s" in lines["time"]["advice"]


def test_heads_that_are_others_than_they_were_fail(packed, tmp_path, manifest):
    given = read_arrays(packed / "golden" / "input.npz")
    golden = Golden(given, {"classification": np.zeros((1, 1))})
    bundle = write_bundle(tmp_path / "b", manifest, packed / "model.keras", "", golden=golden)
    status, lines = checked(bundle.path)
    assert (status, "package the bundle again" in lines["refused"]["found"]) == (1, True)


def test_a_bundle_that_was_changed_ends_there(packed, tmp_path):
    bundle = shutil.copytree(packed, tmp_path / "b")
    (bundle / "card.md").write_text("another")
    status, lines = checked(bundle)
    assert (status, list(lines)) == (1, ["refused"])
    assert "SIGNATURE" in lines["refused"]["found"]


def test_a_site_that_demands_signatures_checks_for_one(packed, tmp_path):
    config = tmp_path / "node.toml"
    config.write_text("[models]\nrequire_signature = true\n")
    status, lines = checked(packed, "--config", str(config))
    assert (status, "dicom-worker sign" in lines["refused"]["found"]) == (1, True)


def test_golden_images_have_geometry_and_window_and_nothing_of_the_patient(packed):
    images = golden_images(open_bundle(packed))
    assert images is not None
    assert images.pixels.shape == (8, 128, 128)
    kept = {element.keyword for header in images.datasets for element in header}
    assert kept == {
        "SOPClassUID", "SOPInstanceUID", "Modality", "PhotometricInterpretation", "Laterality",
        "WindowCenter", "WindowWidth",
    }  # fmt: skip
    assert b"Phantom" not in (packed / GOLDEN_INPUT).read_bytes()


def test_golden_images_become_a_study_with_the_same_pixels_in_the_same_place(
    packed, study, tmp_path
):
    images = golden_images(open_bundle(packed))
    assert images is not None
    whole = read_series(sorted(study.iterdir()))
    for header in images.datasets[1::2]:
        header.SOPClassUID = EnhancedCTImageStorage
    again = read_series(save_images(images, tmp_path))
    assert (again.pixels == images.pixels).all()
    assert (images.pixels == whole.pixels[8:16]).all()
    corner = images.to_patient((3, 5, 7))
    assert again.to_patient((3, 5, 7)) == pytest.approx(corner, abs=1e-3)
    assert whole.to_patient((11, 5, 7)) == pytest.approx(corner, abs=1e-3)


def test_values_with_fractions_and_no_geometry_become_a_study_too(packed, tmp_path):
    images = golden_images(open_bundle(packed))
    assert images is not None
    bare = SourceImages(images.datasets, images.frames, images.pixels / 7 - 3.5)
    for header in bare.datasets:
        header.SOPClassUID, header.Modality = "1.2.840.10008.5.1.4.1.1.1", "CR"
    again = read_series(save_images(bare, tmp_path))
    assert again.affine is None
    assert again.pixels == pytest.approx(bare.pixels, abs=0.05)

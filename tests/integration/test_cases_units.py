"""Cases of known place measure maps of sequences and boxes, too; what they cannot is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicom_node.catalog import open_bundle
from dicom_node.domain.errors import ConfigurationError

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

BUNDLES = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"
SEED = 70_000


def save(values, images, path: Path) -> None:
    volume = SimpleITK.GetImageFromArray(values)
    volume.SetSpacing([float(mm) for mm in reversed(images.spacing_mm)])
    SimpleITK.WriteImage(volume, str(path))


def drawn(home: Path, name: str, label: str, count: int) -> Path:
    """Phantoms as NIfTI files with masks; some of them have nothing to find."""
    from workers.training.tasks import recipe_of
    from workers.training.tasks.phantoms import of

    rows = []
    for folder in ("images", "masks"):
        (home / folder).mkdir(parents=True)
    for seed in range(SEED, SEED + count):
        planted = recipe_of(name).plant(seed)
        mask = of(planted).phantom.lesion
        save(planted.images.pixels, planted.images, home / "images" / f"{seed}.nii.gz")
        save(mask.astype("u1"), planted.images, home / "masks" / f"{seed}.nii.gz")
        rows.append({"id": seed, "label": label if mask.any() else "", "patient": seed})
    with (home / "data.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return home


def cases(home: Path, name: str, label: str, count: int):
    from workers.training.dataset import read_data
    from workers.training.masked import Cases

    return Cases(read_data(drawn(home, name, label, count)))


def test_maps_of_sequences_are_measured(tmp_path):
    from workers.progress import silent
    from workers.training.cases_check import check_cases

    bundle = open_bundle(BUNDLES / "qa-sequence")
    methods, maps = check_cases(bundle, cases(tmp_path, "qa-sequence", "Sphere", 16), silent)
    assert "gradcam of features (its own)" in methods.found
    assert "shuffled labels" in maps.found


def test_maps_of_boxes_are_settled(tmp_path):
    from workers.training.settle import load_network, settle

    folder = BUNDLES / "qa-boxes"
    manifest = (folder / "manifest.toml").read_text("utf-8")
    network = load_network(folder / "model.keras")
    settled = settle(manifest, network, cases(tmp_path, "qa-boxes", "Insert", 10), "phantoms")
    assert settled.compared[0].hits > 0.8
    assert "[explanation.check]" in settled.manifest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qa-views", "reads the views of a side together"),
        ("qa-diameter", "measures numbers"),
        ("qa-spheres", "names no finding"),
        ("qa-denoise", "names no finding"),
    ],
)
def test_what_a_table_of_cases_cannot_know_is_refused_in_one_sentence(name, reason):
    from workers.training.masked import Cases
    from workers.training.settle import fit_for_it

    manifest = open_bundle(BUNDLES / name).manifest
    with pytest.raises(ConfigurationError, match=f"{reason}, and cases say which findings"):
        fit_for_it(manifest, Cases([]))


def test_an_item_shows_what_any_of_its_slices_shows():
    from dicom_node.domain.images import FrameReference, SourceImages
    from workers.items import Items
    from workers.steps.prepared import Prepared
    from workers.training.masked import showing

    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(8))
    pixels = np.zeros((8, 4, 4), np.float32)
    prepared = Prepared.start(SourceImages((), frames, pixels, np.eye(4)))
    plan = open_bundle(BUNDLES / "qa-spheres").manifest.input
    plan = plan.model_copy(update={"shape": (4, 4, 4, 1)})
    mask = np.zeros((8, 4, 4), bool)
    mask[6] = True
    items = Items.of(plan, prepared)
    assert showing(items, prepared, mask).tolist() == [False, False, True]
    assert items.stacked(prepared.values, np.array([2])).shape == (1, 4, 4, 4, 1)

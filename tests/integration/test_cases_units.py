"""Cases of known place measure maps of sequences, boxes, views and numbers, too; no others."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import SEED, drawn, drawn_views, inserts

from dicom_node.catalog import open_bundle
from dicom_node.doctor import Health
from dicom_node.domain.errors import ConfigurationError

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

BUNDLES = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"


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


def test_a_costly_method_whose_maps_fail_their_check_is_left_for_one_of_one_pass(
    tmp_path, monkeypatch
):
    """Input gradients hit every insert, and change little when the weights do."""
    from explain.gradcam import WEIGHTINGS
    from workers.training import localise
    from workers.training.dataset import read_data
    from workers.training.masked import Cases
    from workers.training.settle import load_network, settle

    folder = BUNDLES / "qa-insert"
    text, network = (folder / "manifest.toml").read_text(), load_network(folder / "model.keras")
    given = Cases(read_data(inserts(tmp_path, "nifti", 40)))
    monkeypatch.setattr(localise, "CLEARLY", -1)
    settled = settle(text, network, given, "phantoms")
    plan = tomllib.loads(settled.manifest)["explanation"]
    assert settled.compared[0].plan.method not in WEIGHTINGS
    assert plan["method"] in WEIGHTINGS
    assert any("failed their check" in note for note in settled.notes)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("qa-insert", "Insert"),
        ("qa-inserts", "Insert"),
        ("qa-boxes", "Insert"),
        ("qa-sequence", "Sphere"),
    ],
)
def test_what_is_calibrated_is_what_a_report_says(tmp_path, name, label):
    """The logits of each case, calibrated as the manifest says, are the probabilities reported."""
    from workers.heads import heads
    from workers.keras_model import KerasModel
    from workers.training.calibrating import likely
    from workers.training.certainty import with_targets
    from workers.training.heard import hear
    from workers.training.settle import load_network

    folder = BUNDLES / name
    network, manifest = load_network(folder / "model.keras"), open_bundle(folder).manifest
    warm = [target.model_copy(update={"temperature": 4.0}) for target in manifest.targets]
    manifest = with_targets(manifest, warm)
    shared = next(iter(heads(network, manifest).values())).exclusive
    heard = hear(KerasModel(manifest, network), cases(tmp_path, name, label, 6), lambda _: None)
    said = likely(warm, np.stack([each.logits for each in heard]), shared=shared)
    told = np.stack([each.probabilities for each in heard])
    np.testing.assert_allclose(said[:, : len(warm)], told, atol=1e-5)
    assert np.ptp(told) > 0.1


def test_maps_of_boxes_are_settled(tmp_path):
    from workers.training.settle import load_network, settle

    folder = BUNDLES / "qa-boxes"
    manifest = (folder / "manifest.toml").read_text("utf-8")
    network = load_network(folder / "model.keras")
    settled = settle(manifest, network, cases(tmp_path, "qa-boxes", "Insert", 10), "phantoms")
    assert settled.compared[0].hits > 0.8
    assert "[explanation.check]" in settled.manifest


def test_each_view_of_a_breast_is_measured_against_its_own_mask(tmp_path):
    from workers.progress import silent
    from workers.training.cases_check import check_cases
    from workers.training.dataset import read_data
    from workers.training.masked import Cases

    given = Cases(read_data(drawn_views(tmp_path, 16)))
    _, maps = check_cases(open_bundle(BUNDLES / "qa-views"), given, silent)
    assert "of 16 hit" in maps.found  # eight breasts have a mass, in two views
    assert "shuffled labels" in maps.found
    assert maps.health is Health.OK


def test_maps_of_views_are_settled_with_the_place_of_masses_in_each_view(tmp_path):
    from workers.asked import AVERAGE_MASK
    from workers.training.dataset import read_data
    from workers.training.masked import Cases
    from workers.training.settle import load_network, settle

    folder = BUNDLES / "qa-views"
    manifest = (folder / "manifest.toml").read_text("utf-8")
    given = Cases(read_data(drawn_views(tmp_path, 16)))
    settled = settle(manifest, load_network(folder / "model.keras"), given, "phantoms")
    assert settled.compared[0].hits > 0.8
    assert settled.reference[AVERAGE_MASK].shape == (2, 48, 36)


def test_a_head_that_reads_no_rows_and_columns_asks_for_a_layer_that_has_them():
    from dicom_node.domain.errors import UnsupportedModel
    from workers.keras_model import KerasModel
    from workers.training.settle import load_network

    bundle = open_bundle(BUNDLES / "qa-views")
    explanation = bundle.manifest.explanation.model_copy(update={"layer": None})
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    with pytest.raises(UnsupportedModel, match=r"no rows and columns to map: name one"):
        KerasModel(manifest, load_network(bundle.path / "model.keras"))


def test_a_mask_that_is_called_as_no_image_is_refused(tmp_path):
    from workers.training.dataset import read_data
    from workers.training.reading import read_case, read_mask

    home = drawn_views(tmp_path, 4)
    wrong = min((home / "masks" / str(SEED)).iterdir())
    wrong.rename(wrong.with_name("CC-left.png"))
    example = read_data(home)[0]
    images = read_case(example, open_bundle(BUNDLES / "qa-views").manifest.input, None)
    with pytest.raises(ConfigurationError, match="are named CC-left, and no image is"):
        read_mask(example, images)


def test_views_that_are_no_dicom_files_are_refused(tmp_path):
    from workers.training.dataset import Example
    from workers.training.reading import read_case

    plan = open_bundle(BUNDLES / "qa-views").manifest.input
    example = Example("a", tmp_path / "a.png", frozenset(), "1")
    with pytest.raises(ConfigurationError, match="reads several views, which their headers tell"):
        read_case(example, plan, None)


def test_maps_of_a_number_are_measured_on_the_structure_that_it_measures(tmp_path):
    from workers.progress import silent
    from workers.training.cases_check import check_cases

    given = cases(tmp_path, "qa-diameter", "Diameter", 12)
    _, maps = check_cases(open_bundle(BUNDLES / "qa-diameter"), given, silent)
    assert "of 12 hit; the centre" in maps.found
    assert maps.health is Health.OK


def test_where_any_place_is_right_no_map_is_evidence(tmp_path, monkeypatch):
    """Large cylinders in the middle: whatever a map names lies in one."""
    from workers.progress import silent
    from workers.training.cases_check import check_cases
    from workers.training.tasks import phantoms, regression

    large = phantoms.planting(lambda _: (), slices=2)
    recipe = replace(regression.RECIPES["qa-diameter"], plant=large)
    monkeypatch.setitem(regression.RECIPES, "qa-diameter", recipe)
    given = cases(tmp_path, "qa-diameter", "Diameter", 12)
    _, maps = check_cases(open_bundle(BUNDLES / "qa-diameter"), given, silent)
    assert "of 12 hit; the centre 100%" in maps.found
    assert maps.health is Health.BAD


def test_masks_of_what_the_model_does_not_measure_are_refused(tmp_path):
    from workers.training.settle import fit_for_it

    given = cases(tmp_path, "qa-diameter", "Insert", 4)
    with pytest.raises(ConfigurationError, match="is labelled Diameter, as qa-diameter"):
        fit_for_it(open_bundle(BUNDLES / "qa-diameter").manifest, given)


def test_a_model_whose_answers_no_map_explains_is_refused_in_one_sentence():
    from workers.training.masked import Cases
    from workers.training.settle import fit_for_it

    manifest = open_bundle(BUNDLES / "qa-denoise").manifest
    with pytest.raises(ConfigurationError, match="names no finding and measures no number"):
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

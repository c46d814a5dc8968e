"""Every kind of output is measured on a data set by `dicom-worker evaluate`, on one page."""

import data_sets
import pytest
from typer.testing import CliRunner

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.errors import ConfigurationError
from workers.progress import silent

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]
TASKS = next(p for p in shipped_bundles() if p.name == "phantom-lesion").parent / "tasks"


def evaluated(name, data, output):
    from workers.training.evaluation.run import Question, run

    figures = run(open_bundle(TASKS / name), Question(data), output, silent)
    return figures, output.read_text("utf-8")


def test_numbers(tmp_path):
    from workers.training.tasks.regression import TOLERANCE_MM

    figures, page = evaluated("qa-diameter", data_sets.measured(tmp_path, 10), tmp_path / "a.html")
    off = [*diameters_off(range(data_sets.SEED, data_sets.SEED + 10))]
    assert sum(each <= TOLERANCE_MM for each in off) >= 9
    found = figures["Diameter: mean absolute error (mm)"].value
    assert found == pytest.approx(sum(off) / len(off), abs=0.01)
    assert "Diameter: Bland-Altman" in page
    assert "<h3>Sex</h3>" in page


def diameters_off(seeds):
    """By how many mm the model misses each phantom's diameter, asked without any files."""
    from workers.analysis import analyse_images
    from workers.loading import load_model
    from workers.training.tasks import phantoms, recipe_of
    from workers.training.tasks.planted import PROVENANCE

    model, plant = load_model(open_bundle(TASKS / "qa-diameter")), recipe_of("qa-diameter").plant
    for planted in map(plant, seeds):
        (said,) = analyse_images(planted.images, model, PROVENANCE).estimates
        yield abs(said.measurements[0].value - phantoms.of(planted).diameter_mm)


def test_outlines_of_volumes(tmp_path):
    home = data_sets.drawn(tmp_path, "qa-spheres", "Sphere", 4)
    figures, page = evaluated("qa-spheres", home, tmp_path / "a.html")
    assert figures["Dice of the outlines"].value > 0.9
    assert figures["95 % Hausdorff distance of the outlines (mm)"].value < 6
    assert "Sphere: Dice" in page


def test_images_that_are_made(tmp_path):
    figures, page = evaluated("qa-denoise", data_sets.noisy(tmp_path, 6), tmp_path / "a.html")
    for name in ("PSNR", "SSIM"):
        made, came = (next(v for k, v in figures.items() if k.startswith(name) and end in k)
                      for end in ("it makes", "as they came"))  # fmt: skip
        assert made.low > came.value
    assert "AI denoised" in page


def test_boxes(tmp_path):
    home = data_sets.drawn(tmp_path, "qa-boxes", "Insert", 10)
    figures, page = evaluated("qa-boxes", home, tmp_path / "a.html")
    assert figures["Insert: sensitivity of boxes"].value > 0.9
    assert figures["Insert: average precision of boxes"].value > 0.9
    assert "Insert: FROC" in page
    assert "called absent" in page


def test_views_and_the_place_of_masses_in_them(tmp_path):
    figures, _ = evaluated("qa-views", data_sets.drawn_views(tmp_path, 8), tmp_path / "a.html")
    assert figures["Cases called right"].value == 1
    assert figures["Heat map's place in the mask"].value == 1
    assert figures["Heat map's place in the mask"].cases == 4  # a mass in one view alone is none


def test_sequences_by_case(tmp_path):
    home = data_sets.drawn(tmp_path, "qa-sequence", "Sphere", 6)
    figures, _ = evaluated("qa-sequence", home, tmp_path / "a.html")
    assert figures["Cases called right"].value == 1
    assert figures["Cases called right"].cases == 6


@pytest.mark.parametrize("name", ["qa-boxes", "qa-views"])
def test_a_model_of_targets_needs_labels(tmp_path, name):
    home = data_sets.measured(tmp_path, 4)
    with pytest.raises(ConfigurationError, match="its table needs a column label"):
        evaluated(name, home, tmp_path / "a.html")


def test_the_help_says_what_a_data_folder_must_hold():
    from workers.cli import app

    said = CliRunner().invoke(app, ["evaluate", "--help"], terminal_width=200).output
    for word in ("label", "mask", "reference", "quantity"):
        assert word in said

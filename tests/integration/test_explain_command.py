"""``dicom-worker explain`` draws a figure of each finding, by all methods that can explain it."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from task_results import study
from typer.testing import CliRunner

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.testing.inserts import cylinder
from dicom_node.testing.mammogram import VIEWS, breast, make_mammograms
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"


def test_one_figure_a_finding_with_all_methods(tmp_path, monkeypatch):
    from workers import figures
    from workers.cli import app

    assert set(figures.SHOWN) < set(figures.NAMES)
    shown = ["cam", "gradcam", "layercam", "scorecam-pruned", "integrated-gradients"]
    monkeypatch.setattr(figures, "SHOWN", shown)  # the others take half a minute

    given = phantom(30_010, lesions=1, slices=8, size=128, slice_spacing_mm=5.0)
    save_study(make_study(given), tmp_path / "study")
    told = CliRunner().invoke(
        app,
        ["explain", str(tmp_path / "study"), "--bundle", "phantom-lesion", "--output",
         str(tmp_path / "out")],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    page, arrays = sorted((tmp_path / "out").iterdir())
    with np.load(arrays) as stored:
        values, signed = stored["values"], stored["signed"]
    assert arrays.name == "figure-1.npz"
    assert values.shape == signed.shape == (128, 128)
    assert signed.min() < 0 < values.max()
    assert values.min() == 0
    assert np.unravel_index(signed.argmax(), signed.shape) == pytest.approx(
        np.unravel_index(values.argmax(), values.shape), abs=2
    )
    text = page.read_text("utf-8")
    assert page.name == "figure-1.html"
    assert all(f"<b>{figures.NAMES[method]}</b>" in text for method in shown)
    assert "needs a head that averages" in text  # CAM: this head is a log-sum-exp
    assert "probability 100%" not in text  # no model is certain
    assert "logits that a cell adds; its own scale" in text  # LayerCAM, beside Grad-CAM's scale
    areas = dict(re.findall(r"(insertion|deletion), area (-?[\d.]+)", text))
    assert float(areas["insertion"]) > float(areas["deletion"])


def boxes() -> list[Dataset]:
    return study(cylinder(70_005, ("disc",), size=128))


def breasts() -> list[Dataset]:
    return make_mammograms([("L", view, breast(70_020, view, mass=True)) for view in VIEWS])


def diameter() -> list[Dataset]:
    return study(cylinder(70_000, ("disc",), slices=3, roaming=True))


@pytest.mark.parametrize(
    ("name", "make", "title", "score"),
    [
        ("qa-boxes", boxes, "present, probability", "log-odds"),
        ("qa-views", breasts, "present, probability", "log-odds"),
        ("qa-diameter", diameter, "Diameter", "mm"),
    ],
)
def test_boxes_numbers_and_views_have_figures(tmp_path, monkeypatch, name, make, title, score):
    from workers import figures
    from workers.cli import app

    monkeypatch.setattr(figures, "SHOWN", ["gradcam", "integrated-gradients"])
    save_study(make(), tmp_path / "study")
    told = CliRunner().invoke(
        app,
        ["explain", str(tmp_path / "study"), "--bundle", str(TASKS / name), "--output",
         str(tmp_path / "out")],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    text = (tmp_path / "out" / "figure-1.html").read_text("utf-8")
    assert title in text.partition("<h1>")[2].partition("</h1>")[0]
    assert f">{score}</text>" in text
    assert text.count("shares ") == (1 if name == "qa-views" else 2)
    if name == "qa-views":
        assert "integrated-gradients explains key slices, and qa-views@" in text
    elif name == "qa-diameter":
        assert "mm at each input pixel" in text
        assert re.search(
            r'text-anchor="end">\d{3}</text>', text
        )  # no more has room beside the axis


@pytest.mark.parametrize("name", ["qa-denoise", "qa-features"])
def test_a_model_without_maps_is_refused_in_a_sentence(tmp_path, name):
    from workers.cli import app

    save_study(diameter(), tmp_path / "study")
    told = CliRunner().invoke(
        app,
        ["explain", str(tmp_path / "study"), "--bundle", str(TASKS / name), "--output",
         str(tmp_path / "out")],
    )  # fmt: skip
    assert isinstance(told.exception, UnsupportedModel)
    assert "figures are of networks whose answers are explained" in str(told.exception)

"""``dicom-worker explain`` draws a figure of each finding, by all methods that can explain it."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_one_figure_a_finding_with_all_methods(tmp_path, monkeypatch):
    from workers import figures
    from workers.cli import app

    assert set(figures.SHOWN) < set(figures.NAMES)
    shown = ["cam", "gradcam", "layercam", "scorecam-pruned", "integrated-gradients"]
    monkeypatch.setattr(figures, "SHOWN", shown)  # the others take half a minute

    study = phantom(30_010, lesions=1, slices=8, size=128, slice_spacing_mm=5.0)
    save_study(make_study(study), tmp_path / "study")
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

"""The shipped bundle brain-mr-tumour goes the whole way on patients that it was not trained on."""

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid as uids

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.errors import IncompleteStudy
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Presence
from dicom_node.settings.sources import load_settings
from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import make_study, save_study

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
SLICES = ("50", "51", "52")
"""Neighbours of the choosing fold: a meningioma."""
WINDOW = {"WindowCenter": "128", "WindowWidth": "256"}
SPACING_MM = (7.0, 0.49, 0.49)
README = Path(__file__).parents[2] / "README.md"
START = "| `brain-mr-tumour` |"
IN_README = (
    "Cases called right",
    "Calibration error (ECE)",
    "Dice of the outlines",
    "Heat map's place in the mask",
    "Heat map's evidence inside the mask",
    "Images in scope that are flagged as out of it",
    "Maps called reliable that hit",
    "Sensitivity (any tumour)",
    "Specificity (any tumour, enlarged parts)",
    "Specificity (any tumour, filled places)",
)


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(next(p for p in shipped_bundles() if p.name == "brain-mr-tumour"))


def save_slices(shared_data, folder):
    """As a contrast T1 series; positions are made up."""
    from workers.training.brain.example import HEADERS

    home = shared_data / "brain-tumour-cheng"
    images = [np.asarray(Image.open(home / "images" / f"{n}.jpg").convert("L")) for n in SLICES]
    masks = [np.asarray(Image.open(home / "masks" / f"{n}.png")) > 0 for n in SLICES]
    values = np.stack(images).astype(np.int16) - 1024  # as CT, which the series is made as
    source = Phantom(values, (), np.zeros(values.shape, bool), SPACING_MM)
    save_study(make_study(source, attributes=HEADERS | WINDOW), folder)
    return np.stack(masks)


@pytest.mark.shared
def test_a_contrast_t1_series_gets_outline_map_and_report(bundle, shared_data, tmp_path):
    from workers.by_hand import analyse_folder

    masks = save_slices(shared_data, tmp_path / "study")
    done = analyse_folder(tmp_path / "study", bundle, tmp_path / "out", load_settings(None))
    classes = {
        pydicom.dcmread(file, stop_before_pixels=True).SOPClassUID
        for file in done.files
        if file.suffix == ".dcm"
    }
    assert {uids.SegmentationStorage, uids.ParametricMapStorage} <= classes
    assert {uids.Comprehensive3DSRStorage, uids.ComprehensiveSRStorage} & classes
    (finding,) = [f for f in done.analysis.findings if f.presence is Presence.PRESENT]
    assert finding.target.label == "Meningioma"
    assert (finding.segment.mask & masks).sum() > 0.5 * masks.sum()
    values = finding.explanation.saliency.values[finding.frame]
    assert masks[finding.frame].flat[values.argmax()]
    assert values.max() < 10  # logits that one cell adds
    assert finding.explanation.quality.trust is Trust.RELIABLE


def test_a_ct_is_refused_before_anything_is_asked_about_its_pixels(bundle, tmp_path):
    from workers.by_hand import analyse_folder

    save_study(make_study(phantom(1, slices=3, size=64)), tmp_path / "study")
    with pytest.raises(IncompleteStudy, match="modality CT, not MR") as refused:
        analyse_folder(tmp_path / "study", bundle, tmp_path / "out", load_settings(None))
    assert refused.value.code == "NO_MODEL"


def test_the_bundle_is_small_and_says_whose_data_it_learnt_from(bundle):
    assert (bundle.path / "model.keras").stat().st_size <= 8e6
    from workers.training.brain.text import DECISION, INTERVALS
    from workers.training.text import card_text

    card = (bundle.path / "card.md").read_text("utf-8")
    assert card == card_text(bundle.manifest, INTERVALS, DECISION)
    assert "Cheng" in card
    assert "CC BY 4.0" in card
    assert {"Cases called right", "Dice of the outlines", "Heat map's place in the mask"} <= {
        row.name for row in bundle.manifest.card.performance
    }


def test_its_card_says_what_training_took_and_what_the_choosing_fold_decided(bundle):
    said = bundle.manifest.card.training_data
    (minutes,) = re.findall(r"Training took (\d+) minutes on 2 processor cores", said)
    assert int(minutes) <= 90
    assert "fold 4, which decides when training stops" in said


def test_readme_has_the_figures_of_the_card(bundle):
    rows = {row.title: row for row in bundle.manifest.card.performance}
    (line,) = (each for each in README.read_text("utf-8").splitlines() if START in each)
    for name in IN_README:
        row = rows[name]
        assert f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" in line, name


def test_its_maps_beat_those_that_know_nothing_and_its_verdict_was_measured(bundle):
    assert bundle.manifest.explanation.check.passed
    assert bundle.manifest.explanation.verdict is not None
    assert "Verdict on maps: calibration error of its chance" in {
        row.name for row in bundle.manifest.card.performance
    }

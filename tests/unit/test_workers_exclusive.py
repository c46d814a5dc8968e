"""Of answers that exclude each other, one region gets one."""

from datetime import datetime

import numpy as np
import pytest

from dicom_node.domain.findings import Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance
from workers.findings import Answers, Case, answer
from workers.training.brain.text import LABELS, manifest_text
from workers.training.text import parse

SHAPE = (4, 20, 20)
PROVENANCE = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))


def answers(probabilities: list[tuple[float, float, float]], mask: np.ndarray) -> Answers:
    affine = np.diag([5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    images = SourceImages((), frames, np.zeros(SHAPE, np.float32), affine)
    said = np.array(probabilities, np.float32)
    prediction = Prediction(np.zeros_like(said), said, mask[..., None].astype(np.float32))
    return answer(Case(parse(manifest_text()), PROVENANCE, images, prediction))


def region(*frames: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[list(frames), 5:12, 5:12] = True
    return mask


def present(found: Answers) -> list[tuple[str, int]]:
    """Labels of what is there, and how many slices each reaches."""
    return [
        (f.target.label, int(f.segment.mask.any(axis=(1, 2)).sum()) if f.segment else 0)
        for f in found.findings
        if f.presence is Presence.PRESENT
    ]


NOTHING, GLIOMA, MENINGIOMA = (0.01, 0.01, 0.01), (0.1, 0.8, 0.05), (0.6, 0.3, 0.05)
SURE = (0.9, 0.05, 0.02)


def test_a_region_whose_slices_disagree_is_what_their_mean_says():
    found = answers([NOTHING, GLIOMA, MENINGIOMA, GLIOMA], region(1, 2, 3))
    assert present(found) == [(LABELS[1], 3)]
    assert found.findings[1].probability == pytest.approx((0.8 + 0.3 + 0.8) / 3)


def test_what_is_absent_has_no_higher_probability_than_what_is_there_instead():
    """That of a single slice would read: absent, probability 80 %."""
    found = answers([NOTHING, GLIOMA, SURE, SURE], region(1, 2, 3))
    assert present(found) == [(LABELS[0], 3)]
    said = {each.target.label: each.probability for each in found.findings}
    assert said[LABELS[1]] == pytest.approx((0.8 + 0.05 + 0.05) / 3)
    assert said[LABELS[1]] < said[LABELS[0]]
    assert sum(said.values()) <= 1


def test_two_regions_may_be_of_two_kinds():
    found = answers([GLIOMA, NOTHING, NOTHING, MENINGIOMA], region(0) | region(3))
    assert sorted(present(found)) == [(LABELS[1], 1), (LABELS[0], 1)]


def test_a_region_that_is_likelier_none_of_them_is_not_reported():
    found = answers([NOTHING, (0.1, 0.35, 0.05), NOTHING, NOTHING], region(1, 2))
    assert present(found) == []


def test_findings_of_all_kinds_are_numbered_in_one_row_as_their_segments_are():
    found = answers([GLIOMA, NOTHING, NOTHING, MENINGIOMA], region(0) | region(3))
    assert [(s.number, s.label) for s in found.segments] == [
        (1, f"{LABELS[0]} 1"),
        (2, f"{LABELS[1]} 2"),
    ]

"""Of a model that only outlines, every segment is an answer: measured, or not found."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from organs import manifest
from pydicom.dataset import Dataset

from dicom_node.domain.findings import Estimate
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance
from workers.findings import Answers, Case
from workers.prediction import answer

SHAPE = (12, 40, 40)
SPACING = (5.0, 2.0, 2.0)
PROVENANCE = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))


def images(*, volume: bool = True) -> SourceImages:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING, 1
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    headers = tuple(map(header, frames))
    return SourceImages(headers, frames, np.zeros(SHAPE, np.float32), affine if volume else None)


def header(frame: FrameReference) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID = frame.sop_instance_uid
    return made


def block(*place: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.float32)
    mask[place] = 0.9
    return mask


LARGE = block(slice(2, 8), slice(5, 25), slice(5, 15))
SPECK = block(slice(10, 11), slice(30, 32), slice(30, 32))
NOTHING = np.zeros(SHAPE, np.float32)


def answers(*masks: np.ndarray, volume: bool = True, **given: Any) -> Answers:
    nothing = np.zeros((SHAPE[0], 0), np.float32)
    said = Prediction(nothing, nothing, np.stack(masks, axis=-1))
    model = ModelManifest.model_validate(manifest(**given))
    return answer(Case(model, PROVENANCE, images(volume=volume), said))


def numbers(estimate: Estimate) -> dict[str, float]:
    return {m.name.meaning: m.value for m in estimate.measurements}


def test_each_segment_is_an_estimate_with_its_mask_and_tracking_and_no_finding():
    found = answers(LARGE, SPECK)
    assert found.findings == ()
    assert [e.label for e in found.estimates] == ["Liver", "Left kidney"]
    assert [e.segment for e in found.estimates] == list(found.segments)
    assert [e.missing for e in found.estimates] == [False, False]
    uids = [e.tracking_uid for e in found.estimates]
    assert len(set(uids)) == 2
    assert uids == [s.tracking_uid for s in found.segments]
    assert numbers(found.estimates[0])["Volume"] == pytest.approx(LARGE.sum() / 0.9 * 20 / 1000)


def test_a_segment_of_which_nothing_is_outlined_is_missing_at_the_slice_that_came_nearest():
    near = NOTHING.copy()
    near[9, 3, 3] = 0.4
    liver, kidney = answers(LARGE, near).estimates
    assert (liver.missing, kidney.missing) == (False, True)
    assert kidney.frame == 9
    assert numbers(kidney) == {"Volume": 0}
    assert kidney.explanation is None


def test_without_geometry_nothing_has_a_volume():
    liver, kidney = answers(LARGE, NOTHING, volume=False).estimates
    assert "Volume" not in numbers(liver)
    assert kidney.measurements == ()


def test_parts_below_the_least_volume_are_noise_and_said_to_be():
    found = answers(np.maximum(LARGE, SPECK), SPECK, least_ml=1.0)
    liver, kidney = found.estimates
    np.testing.assert_array_equal(liver.segment.mask, LARGE > 0)
    assert kidney.missing
    assert found.notes == (
        "1 place was outlined as Liver, too small to be one; not reported.",
        "1 place was outlined as Left kidney, too small to be one; not reported.",
    )


def test_diameters_are_of_one_part_and_the_volume_of_all():
    """Two parts that lie apart have no diameter together."""
    apart = np.maximum(LARGE, block(slice(4, 5), slice(30, 36), slice(30, 36)))
    one, both = (answers(mask, NOTHING).estimates[0] for mask in (LARGE, apart))
    assert numbers(both)["Long axis"] == numbers(one)["Long axis"] < 46
    assert numbers(both)["Volume"] > numbers(one)["Volume"]

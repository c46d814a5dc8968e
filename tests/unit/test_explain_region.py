"""A map names a region, in indices and millimetres; or nothing, where it shows nothing."""

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.images import FrameReference, SourceImages
from explain.region import find_region, names_all

SHAPE = (3, 40, 50)
SPACING = (5.0, 0.5, 0.8)


def images() -> SourceImages:
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, :3] = np.array([[0, 0, SPACING[2]], [0, SPACING[1], 0], [SPACING[0], 0, 0]])
    affine[:3, 3] = (-20, -10, 100)
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    return SourceImages((), frames, np.zeros(SHAPE, np.float32), affine)


def saliency(values: np.ndarray) -> SaliencyMap:
    return SaliencyMap(
        "Lesion", codes.DCM.GradientWeightedClassActivation, "features", values, full_scale=10.0
    )


def plateau(peak: float = 8.0) -> np.ndarray:
    """A square of 10 × 10 about (20.5, 30.5) in frame 1, hottest on its rim."""
    values = np.zeros(SHAPE, np.float32)
    values[1, 16:26, 26:36] = peak * 0.9
    values[1, 16, 26] = peak
    return values


def test_the_centre_is_named_and_not_the_hottest_pixel():
    region = find_region(saliency(plateau()), 1, images(), level=0.5)
    assert region is not None
    assert region.frame == 1
    assert region.outline.sum() == 100
    assert region.centroid == pytest.approx((1, 20.5, 30.5), abs=0.02)
    assert region.centroid_mm == pytest.approx((-20 + 30.5 * 0.8, -10 + 20.5 * 0.5, 105), abs=0.02)


@pytest.mark.parametrize(
    "values", [np.zeros(SHAPE, np.float32), plateau(0.4)], ids=["zero", "faint"]
)
def test_a_map_without_evidence_names_nothing(values):
    assert find_region(saliency(values), 1, images(), level=0.5) is None


def test_of_two_places_the_findings_own_is_named():
    values = plateau()
    values[1, 2:8, 2:8] = 6.0
    outline = np.zeros(SHAPE[1:], bool)
    outline[3:9, 3:9] = True
    region = find_region(saliency(values), 1, images(), level=0.5, outline=outline)
    assert region is not None
    assert region.centroid == pytest.approx((1, 4.5, 4.5))
    assert not names_all(region, saliency(values), level=0.5)
    assert names_all(region, saliency(np.where(values == 6, 6, values / 4)), level=0.5)


def test_a_map_that_points_elsewhere_is_not_bent_towards_the_outline():
    outline = np.zeros(SHAPE[1:], bool)
    outline[3:9, 3:9] = True
    region = find_region(saliency(plateau()), 1, images(), level=0.5, outline=outline)
    assert region is not None
    assert not (region.outline & outline).any()

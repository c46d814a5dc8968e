"""An outline runs along the edges of the pixels and encloses exactly the mask."""

import numpy as np
import pytest

from reports.contour import MOST_POINTS, contours


def area(ring: np.ndarray) -> float:
    """Signed: holes count against what they lie in."""
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_a_pixel_is_the_square_between_its_edges() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (ring,) = contours(mask)
    assert sorted(map(tuple, ring[:-1])) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    assert (ring[0] == ring[-1]).all()


@pytest.mark.parametrize("seed", range(8))
def test_any_mask_is_enclosed_with_its_holes(seed: int) -> None:
    mask = np.random.default_rng(seed).random((17, 23)) > 0.5
    rings = contours(mask)
    assert sum(map(area, rings)) == mask.sum()
    assert all((ring[0] == ring[-1]).all() for ring in rings)


def test_a_hole_has_a_ring_of_its_own() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert sorted(map(area, contours(mask))) == [-1, 25]


def test_an_outline_without_end_is_thinned_to_what_an_element_holds() -> None:
    mask = np.indices((180, 180)).sum(axis=0) % 2 == 0
    mask[::2] = True
    assert max(map(len, contours(mask))) <= MOST_POINTS + 1


def test_an_empty_mask_has_none() -> None:
    assert contours(np.zeros((3, 3), bool)) == []

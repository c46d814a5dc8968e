"""The outline of a mask as closed polygons along the edges of its pixels, without any smoothing."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray

Vertex = tuple[int, int]
"""Row and column of a pixel's corner: (0, 0) is the corner of the first pixel."""
MOST_POINTS = 8000
"""A value of FL in Explicit VR holds at most 65534 bytes: 8191 points."""


def contours(mask: BoolArray) -> list[NDArray[np.float64]]:
    """Polygons around a plane's regions and around their holes.

    ``mask`` is (rows, columns). Each polygon is (points, 2) of column and row, where 0 is the edge
    of the first pixel (PS3.3 C.10.5.1.2, C.18.6.1.1); the last point repeats the first. Regions
    that touch at a corner alone are parted there.
    """
    following = _edges(mask)
    rings = []
    while following:
        start = next(iter(following))
        rings.append(_polygon(_ring(following, start)))
    return rings


def _edges(mask: BoolArray) -> dict[Vertex, list[Vertex]]:
    """Edges between inside and outside, by where they start; the inside is to their right."""
    inside = np.pad(mask, 1)
    core = inside[1:-1, 1:-1]
    outer = {
        ((0, 0), (0, 1)): inside[:-2, 1:-1],
        ((0, 1), (1, 1)): inside[1:-1, 2:],
        ((1, 1), (1, 0)): inside[2:, 1:-1],
        ((1, 0), (0, 0)): inside[1:-1, :-2],
    }
    following: dict[Vertex, list[Vertex]] = defaultdict(list)
    for (start, end), neighbour in outer.items():
        for row, column in np.argwhere(core & ~neighbour).tolist():
            following[row + start[0], column + start[1]].append((row + end[0], column + end[1]))
    return following


def _ring(following: dict[Vertex, list[Vertex]], start: Vertex) -> list[Vertex]:
    """Follow edges to where they began, turning right where two ways part, and use them up."""
    ring, here, step = [start], start, (0, 0)
    while len(ring) == 1 or here != start:
        ways = following[here]
        right = (here[0] + step[1], here[1] - step[0])
        after = ways.pop(ways.index(right) if right in ways else 0)
        if not ways:
            del following[here]
        step, here = (after[0] - here[0], after[1] - here[1]), after
        ring.append(here)
    return ring


def _polygon(ring: list[Vertex]) -> NDArray[np.float64]:
    """Corners alone, as (column, row); of an outline beyond the limit every n-th."""
    points = np.array(ring[:-1], dtype=np.float64)[:, ::-1]
    straight = (points - np.roll(points, 1, 0) == np.roll(points, -1, 0) - points).all(axis=1)
    corners = points[~straight]
    corners = corners[:: 1 + len(corners) // MOST_POINTS]
    return np.concatenate([corners, corners[:1]])

"""Calibrated regions of an ultrasound image (PS3.3 C.8.5.5): where its pixels have a size."""

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

TWO_D, CENTIMETRES = 1, 3
EDGES = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
Rectangle = tuple[int, int, int, int]
"""First row and column, last row and column."""


def pixel_size_mm(header: Dataset, place: Rectangle | None) -> tuple[float, float] | None:
    """Height and width of the pixels of a place; without a place, of all regions.

    Only where one region alone has to do with it, which holds all of it and shows two dimensions
    in centimetres: what lies across regions, or in a trace of time or speed, has no size in mm.
    """
    regions = [_Region.of(item) for item in header.get("SequenceOfUltrasoundRegions") or ()]
    near = [region for region in regions if region is None or region.touches(place)]
    if len(near) != 1 or near[0] is None or not near[0].holds(place):
        return None
    return near[0].size_mm


@dataclass(frozen=True, slots=True)
class _Region:
    edges: Rectangle
    size_mm: tuple[float, float] | None
    """Height and width of a pixel; none where it does not show two dimensions in centimetres."""

    @classmethod
    def of(cls, item: Dataset) -> "_Region | None":
        """None where nobody can say where it lies."""
        edges = [item.get(keyword) for keyword in EDGES]
        if not all(isinstance(edge, int) for edge in edges):
            return None
        top, left, bottom, right = edges
        return cls((top, left, bottom, right), _size_mm(item))

    def touches(self, place: Rectangle | None) -> bool:
        if place is None:
            return True
        top, left, bottom, right = self.edges
        rows = top <= place[2] and place[0] <= bottom
        return rows and left <= place[3] and place[1] <= right

    def holds(self, place: Rectangle | None) -> bool:
        if place is None:
            return True
        top, left, bottom, right = self.edges
        rows = top <= place[0] and place[2] <= bottom
        return rows and left <= place[1] and place[3] <= right


def _size_mm(item: Dataset) -> tuple[float, float] | None:
    units = [item.get(f"PhysicalUnits{axis}Direction") for axis in "YX"]
    deltas = [item.get(f"PhysicalDelta{axis}") for axis in "YX"]
    if item.get("RegionSpatialFormat") != TWO_D or units != [CENTIMETRES] * 2:
        return None
    if not all(isinstance(delta, float | int) for delta in deltas):
        return None
    height, width = (abs(float(delta)) * 10 for delta in deltas)
    return (height, width) if math.isfinite(height * width) and height * width > 0 else None

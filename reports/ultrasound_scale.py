"""The scale of an ultrasound picture, which its header states for regions and not for the image."""

from collections.abc import Iterable
from dataclasses import replace
from math import isclose

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.ultrasound import Rectangle, pixel_size_mm
from reports.language import _
from reports.overlay import Scene

SQUARE = 0.01
"""Pixels whose height and width differ by less are shown as they are; others have no one scale."""


def calibrated(view: Scene, header: Dataset, places: Iterable[BoolArray]) -> Scene:
    """The scene with the scale of the region that holds all that is marked in it.

    As it was where it has a scale, or where no one region has. ``places`` are (rows, columns).
    """
    size = pixel_size_mm(header, _around(places)) if view.mm_per_pixel is None else None
    if size is None or not isclose(*size, rel_tol=SQUARE):
        return view
    mm_per_pixel = size[1] * header.Columns / view.size[0]
    return replace(view, mm_per_pixel=mm_per_pixel, scale_note=_(" in the scan area"))


def _around(places: Iterable[BoolArray]) -> Rectangle | None:
    marked = [np.argwhere(place) for place in places]
    if not marked:
        return None
    found = np.concatenate(marked)
    first, last = found.min(axis=0), found.max(axis=0)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])

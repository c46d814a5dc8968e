"""The place that a map names: a region with an outline, not its hottest pixel.

The hottest pixel of a coarse map lies on the rim of a plateau; its centre lies on the target.
"""

import numpy as np
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import Region, SaliencyMap
from dicom_node.domain.images import SourceImages

NOTHING = 0.05
"""Part of the colour bar below which a map shows no evidence."""


def find_region(
    saliency: SaliencyMap,
    frame: int,
    images: SourceImages,
    *,
    level: float,
    outline: BoolArray | None = None,
) -> Region | None:
    """The region that a map names in one frame; none where it holds no evidence.

    Of the connected parts above ``level`` times the frame's peak: the one that shares most with the
    finding's ``outline`` (rows, columns), and the one with the peak where none does.
    """
    values = saliency.values[frame]
    peak = float(values.max())
    if peak < NOTHING * saliency.full_scale:
        return None
    part, (row, column) = strongest(values, level, outline)
    centroid = (float(frame), row, column)
    return Region(frame, part, centroid, images.to_patient(centroid))


def strongest(
    values: FloatArray, level: float, outline: BoolArray | None = None
) -> tuple[BoolArray, tuple[float, float]]:
    """The part of a map (rows, columns) that it names, and the row and column of its centre."""
    parts, _ = ndimage.label(_strong(values, level))
    part = parts == _choose(parts, values, outline)
    row, column = ndimage.center_of_mass(np.where(part, values, 0))
    return part, (float(row), float(column))


def names_all(region: Region, saliency: SaliencyMap, *, level: float) -> bool:
    """Whether no other part of the frame than the one that is named is above ``level``."""
    strong = _strong(saliency.values[region.frame], level)
    return bool((strong == region.outline).all())


def _strong(values: FloatArray, level: float) -> BoolArray:
    return np.asarray(values >= level * values.max())


def _choose(parts: np.ndarray, values: FloatArray, outline: BoolArray | None) -> int:
    shared = np.bincount(parts[outline], minlength=1) if outline is not None else np.zeros(1)
    shared[0] = 0
    if shared.any():
        return int(shared.argmax())
    return int(parts.flat[values.argmax()])

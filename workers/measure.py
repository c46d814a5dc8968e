"""Measurements of one connected region (TID 300): volume, diameters, intensity."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import Measurement
from dicom_node.domain.images import SourceImages
from dicom_node.domain.ultrasound import Rectangle, pixel_size_mm
from workers.units import HOUNSFIELD, unit_of

MILLILITRE = Code("ml", "UCUM", "ml")
INTENSITY = (codes.SCT.Mean, codes.SCT.StandardDeviation)
ATTENUATION = (
    codes.DCM.MeanAttenuationCoefficient,
    codes.DCM.StandardDeviationOfAttenuationCoefficient,
)
"""Of values in Hounsfield units."""


def volume_ml(mask: BoolArray, images: SourceImages) -> float:
    """Number of voxels times their size."""
    return float(mask.sum() * np.prod(images.spacing_mm) / 1000)


def longest_slice(mask: BoolArray, images: SourceImages) -> int:
    """The frame in which the region's longest diameter lies."""
    frames = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(max(frames, key=lambda frame: diameters_mm(mask[frame], images.spacing_mm[1:])[0]))


def diameters_mm(outline: BoolArray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Longest diameter of a slice of a region, and its width perpendicular to that.

    ``outline`` is (rows, columns). Measured between the edges of the pixels, so that one pixel
    has a length; the width is that of the convex hull.
    """
    points = _edge_points(outline) * spacing_mm
    hull = points[ConvexHull(points).vertices]
    distances = squareform(pdist(hull))
    start, end = np.unravel_index(distances.argmax(), distances.shape)
    along = (hull[end] - hull[start]) / distances[start, end]
    across = hull @ np.array([-along[1], along[0]])
    return float(distances[start, end]), float(np.ptp(across))


def largest_parts(mask: BoolArray) -> BoolArray:
    """(frames, rows, columns): of each frame the connected part with the most pixels."""
    kept = np.zeros_like(mask)
    for frame in np.flatnonzero(mask.any(axis=(1, 2))):
        top, left, bottom, right = _around(mask[frame])
        box = (frame, slice(top, bottom + 1), slice(left, right + 1))
        parts, _ = ndimage.label(mask[box], np.ones((3, 3)))
        kept[box] = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return kept


def measurements(
    mask: BoolArray, frame: int, images: SourceImages, *, outline: BoolArray | None = None
) -> tuple[Measurement, ...]:
    """Volume, long and short axis in one frame, mean and deviation of the intensity.

    ``mask`` is (frames, rows, columns); ``outline``, (rows, columns), is what the axes are of where
    that is not all of its frame. Without geometry there are no sizes, but in ultrasound those of
    one frame, where one region of it gives them.
    """
    plane = mask[frame] if outline is None else outline
    unit = unit_of(images)
    mean, deviation = ATTENUATION if unit == HOUNSFIELD else INTENSITY
    values = images.pixels[mask]
    intensity = (
        Measurement(mean, float(values.mean()), unit),
        Measurement(deviation, float(values.std()), unit),
    )
    if images.affine is None:
        size = pixel_size_mm(images.header(frame), _around(plane))
        return (*(_axes(plane, size) if size else ()), *intensity)
    volume = Measurement(codes.SCT.Volume, volume_ml(mask, images), MILLILITRE)
    return (volume, *_axes(plane, images.spacing_mm[1:]), *intensity)


def _axes(outline: BoolArray, spacing_mm: tuple[float, float]) -> tuple[Measurement, Measurement]:
    longest, width = diameters_mm(outline, spacing_mm)
    return (
        Measurement(codes.SCT.LongAxis, longest, codes.UCUM.Millimeter),
        Measurement(codes.SCT.ShortAxis, width, codes.UCUM.Millimeter),
    )


def _around(outline: BoolArray) -> Rectangle:
    rows, columns = np.nonzero(outline)
    return int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())


def _edge_points(outline: BoolArray) -> NDArray[np.float64]:
    """(points, 2): middles of the four edges of each pixel that lies on the border."""
    inner = np.pad(outline, 1)
    inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    centres = np.argwhere(outline & ~inner).astype(np.float64)
    steps = [step for step in product((-0.5, 0, 0.5), repeat=2) if np.abs(step).sum() == 0.5]
    return np.concatenate([centres + step for step in steps])

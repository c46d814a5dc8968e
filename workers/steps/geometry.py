"""Steps that move pixels, and carry along where each lies on the source."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain import steps
from dicom_node.domain.errors import UnsupportedGeometry
from explain.projection import Grid
from workers.steps.prepared import Prepared, Run

TOWARDS = {
    "L": (1, 0, 0), "P": (0, 1, 0), "H": (0, 0, 1),
    "R": (-1, 0, 0), "A": (0, -1, 0), "F": (0, 0, -1),
}  # fmt: skip
"""Unit vectors of the patient's coordinates (PS3.3 C.7.6.2.1.1)."""
NEAR = 0.5
"""Cosine of the largest angle between an axis and the direction that it is said to run in."""


def fit(prepared: Prepared, step: steps.Fit) -> Prepared:
    """Square pixels of ``spacing_mm``, ``rows`` × ``columns`` of them about the image's centre."""
    _, row_mm, column_mm = _place(prepared)[1]
    frames = prepared.volume.inner[0]
    grid = Grid.centred(
        prepared.volume.inner,
        (frames, step.rows, step.columns),
        (1.0, step.spacing_mm / row_mm, step.spacing_mm / column_mm),
    )
    return prepared.laid_on(grid, step.fill)


def resample(prepared: Prepared, step: steps.Resample) -> Prepared:
    """To the nearest number of pixels that covers the images."""
    _, spacing = _place(prepared)
    wanted = (step.slice_mm or spacing[0], *step.spacing_mm)
    ratio = tuple(w / s for w, s in zip(wanted, spacing, strict=True))
    sizes = zip(prepared.volume.inner, ratio, strict=True)
    inner = tuple(max(1, round(count / r)) for count, r in sizes)
    return prepared.laid_on(Grid.centred(prepared.volume.inner, inner, ratio))


def orient(prepared: Prepared, step: steps.Orient) -> Prepared:
    """The axes in another order and direction; no value changes."""
    frames, *plane = _directions(prepared)
    wanted = [TOWARDS[step.rows], TOWARDS[step.columns]]
    if step.slices is None:
        order, signs = _nearest(plane, wanted)
        order, signs = (0, *(axis + 1 for axis in order)), (1, *signs)
    else:
        order, signs = _nearest([frames, *plane], [TOWARDS[step.slices], *wanted])
    outer = prepared.volume.inner
    inner = tuple(outer[axis] for axis in order)
    offset = [0.0 if sign > 0 else count - 1.0 for sign, count in zip(signs, inner, strict=True)]
    return prepared.laid_on(Grid(outer, inner, tuple(map(float, signs)), tuple(offset), order))


def crop(prepared: Prepared, step: steps.Crop) -> Prepared:
    """By whole pixels."""
    return prepared.laid_on(_about_centre(prepared, step, min))


def pad(prepared: Prepared, step: steps.Pad) -> Prepared:
    """By whole pixels."""
    return prepared.laid_on(_about_centre(prepared, step, max), step.fill)


def resize(prepared: Prepared, step: steps.Resize) -> Prepared:
    """To a number of pixels."""
    outer = prepared.volume.inner
    inner = (step.slices or outer[0], step.rows, step.columns)
    return prepared.laid_on(Grid.covering(outer, inner))


def _about_centre(
    prepared: Prepared, step: steps.Crop | steps.Pad, choose: Callable[[int, int], int]
) -> Grid:
    outer = prepared.volume.inner
    wanted = (step.slices or outer[0], step.rows, step.columns)
    inner = tuple(choose(o, w) for o, w in zip(outer, wanted, strict=True))
    offset = tuple(float((o - i) // 2) for o, i in zip(outer, inner, strict=True))
    return Grid(outer, inner, (1.0,) * 3, offset)


def _place(prepared: Prepared) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Affine and spacing. Raises UnsupportedGeometry where the images have none."""
    affine, spacing = prepared.affine, prepared.spacing_mm
    if affine is None or spacing is None:
        raise UnsupportedGeometry(
            "the model needs pixels of a known size, and these images carry no position and "
            "orientation in the patient"
        )
    return affine, spacing


def _directions(prepared: Prepared) -> list[NDArray[np.float64]]:
    """Unit vectors in the patient along frames, rows and columns."""
    affine, spacing = _place(prepared)
    return list((affine[:3, :3] / spacing).T)


def _nearest(
    axes: Sequence[NDArray[np.float64]], wanted: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which axis runs along each wanted direction, and whether the same way (1) or back (-1)."""
    cosines = np.array([[float(axis @ np.array(way)) for axis in axes] for way in wanted])
    places = range(len(axes))
    order = max(permutations(places), key=lambda o: min(abs(cosines[n, o[n]]) for n in places))
    found = [cosines[n, order[n]] for n in places]
    if min(map(abs, found)) < NEAR:
        raise UnsupportedGeometry(
            "the model needs images in another plane of the patient: give its manifest the "
            "orientation of the series that it can read (selection.orientation)"
        )
    return order, tuple(1 if cosine > 0 else -1 for cosine in found)


STEPS: Mapping[type, Run] = {
    steps.Fit: fit,
    steps.Resample: resample,
    steps.Orient: orient,
    steps.Crop: crop,
    steps.Pad: pad,
    steps.Resize: resize,
}

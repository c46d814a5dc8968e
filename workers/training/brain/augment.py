"""Training slices, changed: moved, bent, zoomed, relit; and some with the tumour taken away.

Every slice of the data shows a tumour, so slices without one are made of them: a window beside the
tumour, or the tumour's place filled with what lies opposite in the same head, or in the same place
of another slice that is alike. Slices that keep their tumour are zoomed, and filled elsewhere, as
often: none of it is a sign of health.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import BSpline

from dicom_node.domain.arrays import BoolArray
from workers.training.brain.lenders import tumour_place

Floats = NDArray[np.floating]

STORED = 256
"""Rows and columns of the slices that are given."""
ZOOMED, FILLED, LENT, WITHOUT = 0.15, 0.3, 0.75, 0.5
"""Shares: of slices that are zoomed, of those of which a place is filled, of these that are filled
from another slice, and of all of them that lose their tumour by it."""
NEAR = 16
"""Pixels about a place by which what fills it is made as bright."""
TRIES = 12
SYMMETRIC = 0.6
"""Correlation of a slice with its mirror image from which the other side may stand in for one."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One (256, 256) image, 0 to 1, and its tumour mask, 0 to 1."""

    image: Floats
    mask: Floats
    lender: "Slice | None" = None
    """One that can fill the tumour's place."""


def changed(given: Slice, rng: Generator, side: int) -> Slice:
    """The slice on a grid of ``side`` × ``side``, changed at random."""
    if rng.random() < FILLED:
        given = (borrowed if rng.random() < LENT else filled)(given, rng) or given
    zoomed = window(given, rng, side) if rng.random() < ZOOMED else None
    moved = zoomed or _resampled(given, _places(rng, side, given))
    image = _relit(moved.image, rng)
    return Slice(image.astype(np.float32), moved.mask)


def plain(given: Slice, side: int) -> Slice:
    """The slice on the grid, unchanged."""
    return _resampled(given, _affine(side, np.eye(2), np.zeros(2)))


def filled(given: Slice, rng: Generator, without: float = WITHOUT) -> Slice | None:
    """A place filled with what lies opposite: the tumour's, with that chance, or another of its
    shape; none where the sides differ, or the tumour lies on both."""
    mirror = given.image[:, ::-1]
    shift = 2 * round(ndimage.center_of_mass(given.image > 0.1)[1]) - STORED + 1
    mirror = np.roll(mirror, shift, axis=1)
    if np.corrcoef(mirror.ravel(), given.image.ravel())[0, 1] < SYMMETRIC:
        return None
    tumour = tumour_place(given.mask)
    there = np.roll(tumour[:, ::-1], shift, axis=1)
    place, gone = _place(tumour, rng, without)
    if (there & place).any():
        return None
    return _replaced(given, mirror, place, gone)


def borrowed(given: Slice, rng: Generator, without: float = WITHOUT) -> Slice | None:
    """The same with what lies in the same place of another slice, made as bright as what is about
    it; none where no slice is alike."""
    lender = given.lender
    if lender is None:
        return None
    place, gone = _place(tumour_place(given.mask), rng, without)
    place = place & ~tumour_place(lender.mask)
    near = ndimage.binary_dilation(place, iterations=NEAR) & ~place
    if not near.any():
        return None
    here, there = given.image[near], lender.image[near]
    scale = np.clip(here.std() / max(float(there.std()), 1e-3), 0.5, 2)
    lent = np.clip((lender.image - there.mean()) * scale + here.mean(), 0, 1)
    return _replaced(given, lent, place, gone)


def _place(tumour: BoolArray, rng: Generator, without: float) -> tuple[BoolArray, bool]:
    """The tumour's, with that chance, or one of its shape beside it; and whether it is its own."""
    if rng.random() < without:
        return tumour, True
    return np.roll(tumour, rng.integers(-60, 61, 2), axis=(0, 1)) & ~tumour, False


def _replaced(given: Slice, source: Floats, place: BoolArray, gone: bool) -> Slice:
    soft = ndimage.gaussian_filter(place.astype(np.float32), 2.0)
    soft = np.clip(2 * soft, 0, 1) if gone else soft
    image = given.image * (1 - soft) + source * soft
    return Slice(image, np.zeros_like(given.mask) if gone else given.mask)


def window(given: Slice, rng: Generator, side: int, without: float = WITHOUT) -> Slice | None:
    """A window of the slice, enlarged: beside the tumour, with that chance, or with it; none where
    none was found."""
    beside = rng.random() < without
    head = np.argwhere((given.image if beside else given.mask) > 0.2)
    for _ in range(TRIES):
        centre = head[rng.integers(len(head))] if len(head) else np.full(2, STORED / 2)
        places = _places(rng, side, given, rng.uniform(0.45, 0.8), centre)
        moved = _resampled(given, places)
        shown = moved.mask.sum() / max(1e-6, given.mask.sum())
        if (shown == 0 and (moved.image > 0.1).mean() > 0.4) if beside else shown > 0.5:
            return moved
    return None


def _places(
    rng: Generator, side: int, given: Slice, zoom: float = 1.0, centre: Floats | None = None
) -> Floats:
    """Where each pixel of the new grid comes from, (2, side, side) in stored pixels."""
    angle, mirror = rng.normal(0, 0.2), rng.choice((-1.0, 1.0))
    scales = zoom * np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag(scales) @ np.diag((1.0, mirror))
    shift = rng.uniform(-16, 16, 2) * zoom
    if centre is not None:
        shift = shift + centre - (given.image.shape[0] - 1) / 2
    return _affine(side, matrix, shift) + _bent(rng, side, 2.5 * zoom)


def _affine(side: int, matrix: Floats, shift: Floats) -> Floats:
    """About the centre; the identity lays the new grid on the whole of the stored one."""
    step = STORED / side
    axis = (np.arange(side) - (side - 1) / 2) * step
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    return np.asarray(
        np.tensordot(matrix, grid, axes=1) + (shift + (STORED - 1) / 2)[:, None, None]
    )


def _bent(rng: Generator, side: int, pixels: float) -> Floats:
    """Smooth displacements (2, side, side), of some pixels."""
    return _smooth(rng, side, 7, 2) * pixels


def _smooth(rng: Generator, side: int, knots: int, count: int) -> Floats:
    """Random smooth fields (count, side, side) with a deviation of about 1."""
    basis = _basis(side, knots)
    return np.asarray(basis @ rng.normal(0, 2, (count, knots, knots)) @ basis.T)


def _basis(side: int, knots: int) -> Floats:
    """Cubic B-splines over the grid, (side, knots)."""
    at = np.linspace(3, knots, side, endpoint=False)
    return np.asarray(BSpline.design_matrix(at, np.arange(knots + 4, dtype=float), 3).toarray())


def _resampled(given: Slice, places: Floats) -> Slice:
    image, mask = (
        ndimage.map_coordinates(values, places, order=1, output=np.float32, mode="constant")
        for values in (given.image, given.mask)
    )
    return Slice(image, mask)


def _relit(image: Floats, rng: Generator) -> Floats:
    """Another gamma, coil, brightness, sharpness and noise."""
    image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.25))
    image = image * np.exp(0.15 * _smooth(rng, image.shape[0], 5, 1)[0])
    if rng.random() < 0.2:
        image = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.2))
    image = np.minimum(image * rng.uniform(0.9, 1.25), 1.0)
    return image + rng.normal(0, rng.uniform(0, 0.04), image.shape)

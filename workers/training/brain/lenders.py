"""Which slices can lend another one the place of its tumour: alike about it, healthy in it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray

LENDERS = 4
"""Of a slice, at most."""
ALIKE = 0.4
"""Correlation of two slices about the tumour from which one may lend to the other."""
GROWN = 6
"""Pixels of 256 by which the place of a tumour reaches beyond its mask."""
COARSE = 4
"""Pixels of 256 to one of those that are compared."""
ABOUT = 6
"""Coarse pixels about the place that are compared."""
FAINT = 0.1
"""Share of a pixel that is tumour, below which it is none."""


def lenders(images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(slices, 4): the most alike first, -1 for none; a number beyond the slices is that of a
    mirrored one.

    ``images`` and ``masks`` are (slices, 256, 256). Slices of every view and patient are asked.
    """
    seen = _coarse(images)
    place = np.stack([ndimage.binary_dilation(each > 0, iterations=2) for each in _coarse(masks)])
    about = np.stack([ndimage.binary_dilation(each, iterations=ABOUT) for each in place]) & ~place
    offered, ill = (np.concatenate([each, each[..., ::-1]]) for each in (seen, place))
    alike = _correlations(_flat(seen), _flat(about), _flat(offered))
    alike[_flat(place) @ _flat(ill).T > 0] = -1
    best = np.argsort(-alike, axis=1, kind="stable")[:, :LENDERS]
    return np.where(np.take_along_axis(alike, best, axis=1) >= ALIKE, best, -1)


def tumour_place(mask: NDArray[np.floating]) -> BoolArray:
    """(256, 256): the tumour of a mask, 0 to 1, and what lies close to it."""
    return np.asarray(ndimage.binary_dilation(mask > FAINT, iterations=GROWN), bool)


def _coarse(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    count, side = len(values), values.shape[1] // COARSE
    blocks = values.reshape(count, side, COARSE, side, COARSE)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32) / 255)


def _flat(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return values.reshape(len(values), -1).astype(np.float32)


def _correlations(
    wanted: NDArray[np.float32], about: NDArray[np.float32], offered: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(slices, offered): of the pixels about each place."""
    count = np.maximum(about.sum(axis=1, keepdims=True), 1)
    mean = (about * wanted).sum(axis=1, keepdims=True) / count
    centred = about * (wanted - mean)
    others = about @ offered.T / count
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    other_spread = np.sqrt(np.maximum(about @ (offered**2).T / count - others**2, 1e-8))
    return np.asarray(centred @ offered.T / count / np.maximum(spread * other_spread, 1e-6))

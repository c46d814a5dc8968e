"""Whether an image is of the kind that a model was trained on: how near its features lie to theirs.

Features are what the explained layer says of an image, averaged over its cells (``Attribution``).
They are whitened by the principal axes of the training features, so that a distance of 1 is one
deviation; what those axes leave over is one more number. The score is the mean distance to the
nearest training images (Sun 2022, k nearest neighbours).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel

NEAREST = 5
AXES = 32
"""At most so many principal axes."""
POINTS = 2000
"""At most so many training images are kept: a megabyte, whatever the model."""
INSIDE = 0.99
"""Part of the held-out training features whose score is at most 1."""
PREFIX = "outliers_"


@dataclass(frozen=True, slots=True)
class Known:
    """The features that a model was trained on, as ``reference.npz`` of a bundle keeps them."""

    mean: FloatArray
    """(channels,)."""
    axes: FloatArray
    """(axes, channels): whitening; one deviation of the training features has the length 1."""
    rest: FloatArray
    """(): deviation of what the axes leave over."""
    points: FloatArray
    """(images, axes + 1): the training features, whitened."""
    limit: FloatArray
    """(): the distance that counts as 1."""

    def arrays(self) -> Mapping[str, FloatArray]:
        """Named for ``reference.npz``."""
        return {f"{PREFIX}{each.name}": getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> Self | None:
        """As ``arrays`` named them; none where they are not there."""
        names = [each.name for each in fields(cls)]
        if not all(f"{PREFIX}{name}" in arrays for name in names):
            return None
        return cls(*(np.asarray(arrays[f"{PREFIX}{name}"], np.float32) for name in names))


def fit(features: FloatArray, held_out: FloatArray) -> Known:
    """Learn what is known: both (images, channels); ``held_out`` sets the limit and is not kept.

    At least ``NEAREST`` images of each. Give images of other patients as ``held_out``: neighbours
    of the same patient would set the limit too low.
    """
    mean = features.mean(axis=0)
    _, singular, axes = np.linalg.svd(features - mean, full_matrices=False)
    deviations = singular / np.sqrt(max(len(features) - 1, 1))
    kept = (deviations > 1e-3 * deviations[0]) & (np.arange(len(deviations)) < AXES)
    axes = axes[kept] / deviations[kept, None]
    whitened = (features - mean) @ axes.T
    left = _left(features - mean, axes)
    rest = np.asarray(max(float(np.sqrt((left**2).mean())), 1e-6), np.float32)
    points = np.concatenate([whitened, left[:, None] / rest], axis=1).astype(np.float32)
    chosen = np.random.default_rng(0).permutation(len(points))[:POINTS]
    one = np.ones((), np.float32)
    known = Known(mean.astype(np.float32), axes.astype(np.float32), rest, points[chosen], one)
    limit = np.quantile(score(known, held_out), INSIDE)
    return Known(known.mean, known.axes, known.rest, known.points, np.asarray(limit, np.float32))


def score(known: Known, features: FloatArray) -> FloatArray:
    """(images,) of (images, channels): above 1 is outside what the model was trained on.

    Raises UnsupportedModel where what is known was fitted to features of another layer.
    """
    if features.shape[1:] != known.mean.shape:
        raise UnsupportedModel(
            f"reference.npz knows {known.mean.size} features of a layer, and the layer that the "
            f"manifest explains has {features.shape[1]}: package the model again"
        )
    centred = features - known.mean
    left = _left(centred, known.axes)[:, None] / known.rest
    whitened = np.concatenate([centred @ known.axes.T, left], axis=1)
    distances = np.stack([_nearest(each, known.points) for each in whitened])
    return np.asarray(distances / known.limit, np.float32)


def _left(centred: FloatArray, axes: FloatArray) -> FloatArray:
    """(images,): length of what is not along the axes."""
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return np.asarray(np.linalg.norm(centred - centred @ unit.T @ unit, axis=1))


def _nearest(point: FloatArray, points: FloatArray) -> float:
    distances = np.linalg.norm(points - point, axis=1)
    count = min(NEAREST, len(distances))
    return float(np.partition(distances, count - 1)[:count].mean())

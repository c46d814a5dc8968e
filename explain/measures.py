"""How far one map can be believed: numbers of one image, its map, and the model's own answers.

A map is (rows, columns), on the pixels of the image; an image is (rows, columns, channels). What
is taken out of an image is replaced by ``away``, the same image blurred: black pixels would be
evidence of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.stats import spearmanr

from dicom_node.domain.analysis import BoolArray, FloatArray

Ask = Callable[[FloatArray], FloatArray]
"""(images,) logits of one target, of (images, rows, columns, channels)."""
Explain = Callable[[FloatArray], FloatArray]
"""The map of one image."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Logits while the pixels of an image come in, from the blurred image to the image."""

    parts: FloatArray
    """(steps,), 0 to 1: of the pixels that are in."""
    logits: FloatArray
    """(steps,)."""

    @property
    def area(self) -> float | None:
        """Mean height, where 0 is the blurred image and 1 the image: comparable between cases.

        None where both have one logit: there is nothing to explain.
        """
        low, high = float(self.logits[0]), float(self.logits[-1])
        if abs(high - low) < 1e-6:
            return None
        return float(np.trapezoid((self.logits - low) / (high - low), self.parts))


def insertion(
    values: FloatArray, image: FloatArray, away: FloatArray, ask: Ask, steps: int = 16
) -> Curve:
    """Pixels come in from the hottest on (Petsiuk 2018): a large area speaks for the map."""
    return _curve(-values, image, away, ask, steps)


def deletion(
    values: FloatArray, image: FloatArray, away: FloatArray, ask: Ask, steps: int = 16
) -> Curve:
    """Pixels go from the hottest on, so that the coldest come in first: a small area is good."""
    return _curve(values, image, away, ask, steps)


def agreement(one: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; 0 where one of them is flat."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def stability_to_noise(
    values: FloatArray, image: FloatArray, explain: Explain, noise: float = 0.02
) -> float:
    """Agreement with the map of the image plus noise, a part of its range; the same every run."""
    grains = np.random.default_rng(0).standard_normal(image.shape, np.float32)
    return agreement(values, explain(image + noise * np.ptp(image) * grains))


def stability_to_shift(
    values: FloatArray, image: FloatArray, explain: Explain, pixels: int = 4
) -> float:
    """Agreement with the map of the image moved by ``pixels``, moved back; without the border."""
    moved = explain(ndimage.shift(image, (pixels, pixels, 0), order=0, mode="nearest"))
    return agreement(values[:-pixels, :-pixels], moved[pixels:, pixels:])


def evidence_within(values: FloatArray, region: BoolArray) -> float | None:
    """Part of the positive evidence inside a region (Wang 2020); none where there is no evidence.

    Of the model's own outline: whether map and outline speak of one place. Of the body: less than
    1 is evidence in air, padding or what is written beside the patient.
    """
    positive = np.maximum(values, 0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else None


def overlap(values: FloatArray, region: BoolArray) -> float:
    """Intersection over union of a region and the map's hottest pixels, as many as it has."""
    count = int(region.sum())
    if count == 0:
        return 0.0
    hottest = np.zeros(values.size, bool)
    hottest[np.argsort(-values, axis=None, kind="stable")[:count]] = True
    hot = hottest.reshape(values.shape)
    return float((hot & region).sum() / (hot | region).sum())


def _curve(order: FloatArray, image: FloatArray, away: FloatArray, ask: Ask, steps: int) -> Curve:
    """Pixels come in from the lowest of ``order`` on."""
    rank = np.empty(order.size, np.int64)
    rank[np.argsort(order, axis=None, kind="stable")] = np.arange(order.size)
    parts = np.linspace(0, 1, steps + 1, dtype=np.float32)
    shown = rank.reshape(order.shape) < (parts * order.size).round()[:, None, None]
    return Curve(parts, ask(np.where(shown[..., None], image, away).astype(np.float32)))

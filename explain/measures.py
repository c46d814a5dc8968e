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

from dicom_node.domain.arrays import BoolArray, FloatArray

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


def similarity(one: FloatArray, other: FloatArray, sigma: float = 1.5) -> float:
    """Structural similarity of two maps (Wang 2004), -1 to 1: each scaled to its own peak.

    Mean over what lies near evidence of either: empty corners are alike whatever the maps say.
    """
    first, second = (each / max(float(np.abs(each).max()), 1e-9) for each in (one, other))

    def blurred(values: FloatArray) -> FloatArray:
        return np.asarray(ndimage.gaussian_filter(values, sigma), np.float64)

    means = blurred(first), blurred(second)
    both = blurred(first * second) - means[0] * means[1]
    spreads = blurred(first**2) - means[0] ** 2, blurred(second**2) - means[1] ** 2
    light, contrast = 0.01**2, 0.03**2
    top = (2 * means[0] * means[1] + light) * (2 * both + contrast)
    bottom = (means[0] ** 2 + means[1] ** 2 + light) * (spreads[0] + spreads[1] + contrast)
    near = ndimage.binary_dilation(np.maximum(np.abs(first), np.abs(second)) > 0.01, iterations=2)
    return float(np.mean((top / bottom)[near])) if near.any() else 1.0


def faithfulness(
    values: FloatArray, image: FloatArray, away: FloatArray, ask: Ask, draws: int = 32
) -> float:
    """Correlation between the evidence in what is taken out and the fall of the logit (Bhatt 2020).

    Each draw takes out a quarter of a grid of 8 × 8 tiles; the same draws in every run.
    """
    random = np.random.default_rng(0)
    tiles = random.permuted(np.tile(np.arange(TILES**2) < TILES**2 // 4, (draws, 1)), axis=1)
    taken = _tiled(tiles.reshape(draws, TILES, TILES), values.shape)
    logits = ask(np.where(taken[..., None], away, image).astype(np.float32))
    evidence = (taken * values).sum(axis=(1, 2))
    return _correlation(evidence, -logits)


def agreement_with_occlusion(
    values: FloatArray, image: FloatArray, away: FloatArray, ask: Ask
) -> float:
    """Correlation between the evidence in each of 8 × 8 tiles and the fall without it alone."""
    single = np.eye(TILES**2, dtype=bool).reshape(-1, TILES, TILES)
    taken = _tiled(single, values.shape)
    logits = ask(np.where(taken[..., None], away, image).astype(np.float32))
    return _correlation((taken * values).sum(axis=(1, 2)), -logits)


TILES = 8
"""A side of the grid that parts of an image are taken out by."""


def evidence_within(values: FloatArray, region: BoolArray) -> float | None:
    """Part of the positive evidence inside a region (Wang 2020); none where there is no evidence.

    Of the model's own outline: whether map and outline speak of one place. Of the body: less than
    1 is evidence in air, padding or what is written beside the patient.
    """
    positive = np.maximum(values, 0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total > 0 else None


def overlap(values: FloatArray, region: BoolArray) -> float:
    """Intersection over union of a region and the map's hottest pixels, as many as it has.

    Of pixels as hot as the last of them, most often the cold ones, each counts for its chance to be
    among them: where they lie says nothing.
    """
    count = int(region.sum())
    if count == 0:
        return 0.0
    last = np.partition(values, values.size - count, axis=None)[values.size - count]
    above, alike = values > last, values == last
    part = (count - int(above.sum())) / int(alike.sum())
    shared = float((above & region).sum() + part * (alike & region).sum())
    return shared / (2 * count - shared)


def _tiled(tiles: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    """(draws, rows, columns) of (draws, tiles, tiles)."""
    rows, columns = (np.arange(side) * TILES // side for side in shape)
    return tiles[:, rows][:, :, columns]


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Pearson's; 0 where one of them does not change."""
    if np.ptp(one) < 1e-9 or np.ptp(other) < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _curve(order: FloatArray, image: FloatArray, away: FloatArray, ask: Ask, steps: int) -> Curve:
    """Pixels come in from the lowest of ``order`` on."""
    rank = np.empty(order.size, np.int64)
    rank[np.argsort(order, axis=None, kind="stable")] = np.arange(order.size)
    parts = np.linspace(0, 1, steps + 1, dtype=np.float32)
    shown = rank.reshape(order.shape) < (parts * order.size).round()[:, None, None]
    return Curve(parts, ask(np.where(shown[..., None], image, away).astype(np.float32)))

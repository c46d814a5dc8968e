"""Numbers about one map that cost many passes: as many of them as a budget allows.

The budget is counted in passes of one item (an image, a block, the views of a side), the model's
own unit of time, and not in seconds: a second run, on a slower machine too, must measure the same
and write the same results.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

from dicom_node.domain import concepts
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.explanation import QualityMeasure
from explain.evidence import SHIFT_PIXELS, Again, Seen
from explain.measures import (
    TILES,
    Ask,
    agreement,
    agreement_with_occlusion,
    deletion,
    faithfulness,
    insertion,
    similarity,
)

STEPS, DRAWS = 16, 32
NOISE = 0.02
"""Deviation of the noise, as a part of the image's range."""

Measured = Callable[["Probe"], float | None]


@dataclass(frozen=True)
class Probe:
    """One map, its image, the same image without detail, and the model."""

    seen: Seen
    away: FloatArray
    again: Again
    ask: Ask

    @property
    def arguments(self) -> tuple[FloatArray, FloatArray, FloatArray, Ask]:
        """As ``explain.measures`` takes them."""
        return self.seen.values, self.seen.image, self.away, self.ask


@dataclass(frozen=True, slots=True)
class Check:
    """One costly number."""

    name: Code
    passes: int
    measure: Measured
    meaning: str


def noisy(probe: Probe) -> FloatArray:
    """The map of the image plus noise; the same noise in every run."""
    image = probe.seen.image
    grains = np.random.default_rng(0).standard_normal(image.shape, np.float32)
    return np.asarray(probe.again((image + NOISE * np.ptp(image) * grains)[None])[1][0])


def moved(probe: Probe) -> float:
    """Similarity to the map of the moved image, moved back."""
    step = (SHIFT_PIXELS, SHIFT_PIXELS, 0)
    image = ndimage.shift(probe.seen.image, step, order=0, mode="nearest")
    after = probe.again(image[None])[1][0][SHIFT_PIXELS:, SHIFT_PIXELS:]
    return similarity(probe.seen.values[:-SHIFT_PIXELS, :-SHIFT_PIXELS], after)


CHECKS = (
    Check(
        concepts.NOISE_SSIM,
        1,
        lambda p: similarity(p.seen.values, noisy(p)),
        "likeness to the map of the same image with a little noise; 1 is the same",
    ),
    Check(
        concepts.NOISE_RANK,
        1,
        lambda p: agreement(p.seen.values, noisy(p)),
        "rank correlation with the map of the same image with a little noise",
    ),
    Check(
        concepts.SHIFT_SSIM,
        1,
        moved,
        "likeness to the map of the image moved by four pixels; 1 is the same",
    ),
    Check(
        concepts.DELETION,
        STEPS + 1,
        lambda p: deletion(*p.arguments, STEPS).area,
        "mean score while the hottest pixels are removed first; near 0 is good",
    ),
    Check(
        concepts.INSERTION,
        STEPS + 1,
        lambda p: insertion(*p.arguments, STEPS).area,
        "mean score while the hottest pixels come in first; near 1 is good",
    ),
    Check(
        concepts.FAITHFULNESS,
        DRAWS,
        lambda p: faithfulness(*p.arguments, DRAWS),
        "correlation between the evidence in parts of the image and the fall of the score without "
        "them",
    ),
    Check(
        concepts.OCCLUSION_RANK,
        TILES**2,
        lambda p: agreement_with_occlusion(*p.arguments),
        "correlation with the map of another method, which covers one part of the image after the "
        "other",
    ),
)
PASSES = sum(check.passes for check in CHECKS)


@dataclass(frozen=True, slots=True)
class Thorough:
    """What the budget allowed."""

    measures: tuple[QualityMeasure, ...]
    left_out: tuple[Code, ...]
    passes: int
    """Spent."""


def measured(seen: Seen, again: Again, ask: Ask, budget: int, each: int = 1) -> Thorough:
    """Each check in turn while it fits into the budget; ``ask`` is ``again`` without maps.

    ``each``: passes that one image costs, where several blocks show it.
    """
    sigma = max(seen.image.shape[:2]) / 12
    away = ndimage.gaussian_filter(seen.image, (sigma, sigma, 0), mode="nearest")
    probe = Probe(seen, away, again, ask)
    measures, left_out, spent = [], [], 0
    for check in CHECKS:
        if check.measure is moved and not seen.moves:
            continue
        if spent + each * check.passes > budget:
            left_out.append(check.name)
            continue
        spent += each * check.passes
        if (value := check.measure(probe)) is not None:
            unit = codes.UCUM.NoUnits
            measures.append(QualityMeasure(check.name, round(value, 3), unit, check.meaning))
    return Thorough(tuple(measures), tuple(left_out), spent)

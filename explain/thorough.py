"""Numbers about one map that cost many passes: as many of them as a budget allows.

The budget is counted in passes of one item (an image, a block, the views of a side), the model's
own unit of time, and not in seconds: a second run, on a slower machine too, must measure the same
and write the same results.
"""

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Probe:
    """One map, its image, the same image without detail, and the model."""

    seen: Seen
    away: FloatArray
    again: Again
    ask: Ask
    moved: FloatArray | None
    """The map of the moved image, which ``evidence.weigh`` has asked for."""

    @property
    def arguments(self) -> tuple[FloatArray, FloatArray, FloatArray, Ask]:
        """As ``explain.measures`` takes them."""
        return self.seen.values, self.seen.image, self.away, self.ask


@dataclass(frozen=True, slots=True)
class Told:
    """One costly number."""

    name: Code
    meaning: str


@dataclass(frozen=True, slots=True)
class Check:
    """Numbers that the same passes give."""

    passes: int
    told: tuple[Told, ...]
    measure: Callable[[Probe], Sequence[float | None]]
    """One of each that is told; none where there is nothing to measure."""


def to_noise(probe: Probe) -> tuple[float, float]:
    """Against the map of the image plus noise, the same noise in every run."""
    image, values = probe.seen.image, probe.seen.values
    grains = np.random.default_rng(0).standard_normal(image.shape, np.float32)
    noisy = probe.again((image + NOISE * np.ptp(image) * grains)[None])[1][0]
    return similarity(values, noisy), agreement(values, noisy)


def to_shift(probe: Probe) -> tuple[float | None]:
    """Against the map of the moved image, moved back."""
    if probe.moved is None:
        return (None,)
    after = probe.moved[SHIFT_PIXELS:, SHIFT_PIXELS:]
    return (similarity(probe.seen.values[:-SHIFT_PIXELS, :-SHIFT_PIXELS], after),)


CHECKS = (
    Check(
        1,
        (
            Told(
                concepts.NOISE_SSIM,
                "likeness to the map of the same image with a little noise; 1 is the same",
            ),
            Told(
                concepts.NOISE_RANK,
                "rank correlation with the map of the same image with a little noise",
            ),
        ),
        to_noise,
    ),
    Check(
        0,
        (
            Told(
                concepts.SHIFT_SSIM,
                "likeness to the map of the image moved by four pixels; 1 is the same",
            ),
        ),
        to_shift,
    ),
    Check(
        STEPS + 1,
        (
            Told(
                concepts.DELETION,
                "mean score while the hottest pixels are removed first; near 0 is good",
            ),
        ),
        lambda p: [deletion(*p.arguments, STEPS).area],
    ),
    Check(
        STEPS + 1,
        (
            Told(
                concepts.INSERTION,
                "mean score while the hottest pixels come in first; near 1 is good",
            ),
        ),
        lambda p: [insertion(*p.arguments, STEPS).area],
    ),
    Check(
        DRAWS,
        (
            Told(
                concepts.FAITHFULNESS,
                "correlation between the evidence in parts of the image and the fall of the score "
                "without them",
            ),
        ),
        lambda p: [faithfulness(*p.arguments, DRAWS)],
    ),
    Check(
        TILES**2,
        (
            Told(
                concepts.OCCLUSION_RANK,
                "correlation with the map of another method, which covers one part of the image "
                "after the other",
            ),
        ),
        lambda p: [agreement_with_occlusion(*p.arguments)],
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


def measured(
    seen: Seen,
    moved: FloatArray | None,
    again: Again,
    ask: Ask,
    budget: int,
    each: int = 1,
) -> Thorough:
    """Each check in turn while it fits into the budget; ``ask`` is ``again`` without maps.

    ``moved``: ``Evidence.moved``. ``each``: passes that one image costs, where several blocks show
    it.
    """
    sigma = max(seen.image.shape[:2]) / 12
    away = ndimage.gaussian_filter(seen.image, (sigma, sigma, 0), mode="nearest")
    probe = Probe(seen, away, again, ask, moved)
    measures: list[QualityMeasure] = []
    left_out: list[Code] = []
    spent = 0
    for check in CHECKS:
        if spent + each * check.passes > budget:
            left_out += [told.name for told in check.told]
            continue
        spent += each * check.passes
        measures += _told(check, probe)
    return Thorough(tuple(measures), tuple(left_out), spent)


def _told(check: Check, probe: Probe) -> Iterator[QualityMeasure]:
    for told, value in zip(check.told, check.measure(probe), strict=True):
        if value is not None:
            yield QualityMeasure(told.name, round(value, 3), codes.UCUM.NoUnits, told.meaning)

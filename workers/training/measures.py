"""Figures with their intervals: proportions, means, calibration, operating point."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from dicom_node.domain.arrays import BoolArray

Z = float(norm.ppf(0.975))
SAMPLES = 500
Owners = NDArray[np.intp]
"""(cases,): whose each case is. Intervals draw owners, patients or series, and not their cases,
which are alike."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures, and what they were measured on."""

    figures: Mapping[str, Figure]
    data: str
    subgroup: str = ""


def proportion(hits: int, cases: int) -> Figure:
    """Wilson's score interval (Wilson 1927): it holds for proportions near 0 and 1."""
    share = hits / cases
    centre = share + Z**2 / (2 * cases)
    spread = Z * np.sqrt(share * (1 - share) / cases + Z**2 / (4 * cases**2))
    scale = 1 + Z**2 / cases
    return Figure(share, float((centre - spread) / scale), float((centre + spread) / scale), cases)


def share_of(hits: BoolArray, owners: Owners) -> Figure:
    """A proportion of cases, (cases,).

    The middle 95 % of seeded samples of owners; Wilson's interval where each has one case, and over
    owners where no sample differs.
    """
    _, place = np.unique(owners, return_inverse=True)
    counts, found = np.bincount(place), np.bincount(place, weights=hits)
    if counts.max(initial=1) == 1:
        return proportion(int(hits.sum()), len(hits))
    drawn = np.random.default_rng(0).integers(0, len(counts), (SAMPLES, len(counts)))
    shares = found[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    value, (low, high) = float(hits.mean()), np.quantile(shares, (0.025, 0.975))
    if low == high:
        likely = proportion(round(value * len(counts)), len(counts))
        low, high = likely.low, likely.high
    return Figure(value, float(low), float(high), len(hits))


def around(value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of samples of an error that is at least 0, without their own bias.

    Chance adds to such an error, and a sample of a sample has more of it: by itself the interval
    would lie above the value.
    """
    low, high = np.quantile(samples, (0.025, 0.975)) - (samples.mean() - value)
    return max(0.0, float(low)), max(0.0, float(high))


def samples(owners: Owners) -> Iterator[NDArray[np.intp]]:
    """Rows of the cases of as many owners, drawn again and again: the same in every run."""
    _, place = np.unique(owners, return_inverse=True)
    rows = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    random = np.random.default_rng(0)
    for _ in range(SAMPLES):
        yield np.concatenate([rows[n] for n in random.integers(0, len(rows), len(rows))])


def mean(values: NDArray[np.float64], owners: Owners) -> Figure:
    """Of cases, (cases,), with the middle 95 % of seeded samples of owners."""
    drawn = [values[rows].mean() for rows in samples(owners)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(float(values.mean()), float(low), float(high), len(values))


def dice(one: BoolArray, other: BoolArray) -> float:
    """Twice the overlap over the sum of both; 1 for two empty masks."""
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def temperature(logits: NDArray[np.float64], labels: BoolArray | NDArray[np.float64]) -> float:
    """The number to divide logits by that makes their probabilities most likely (Guo 2017).

    ``labels`` are true or false, or how likely each is to be true.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - labels * scaled))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def shared_temperature(logits: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The same where answers exclude each other (softmax); both (cases, answers).

    ``wanted``: how likely each answer of a case is to be true.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - (wanted * scaled).sum(axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def operating_point(logits: NDArray[np.float64], labels: BoolArray) -> float:
    """The logit above which a case is called positive: highest sensitivity plus specificity.

    Youden 1950. Of equally good cuts, the middle of the widest gap between two cases is taken.
    """
    order = np.sort(np.unique(logits))
    cuts = (order[1:] + order[:-1]) / 2
    calls = logits[None, :] >= cuts[:, None]
    youden = calls[:, labels].mean(axis=1) - calls[:, ~labels].mean(axis=1)
    best = np.isclose(youden, youden.max())
    return float(cuts[np.where(best, np.diff(order), -1).argmax()])


def calibration_error(
    probabilities: NDArray[np.float64], labels: BoolArray, owners: Owners
) -> Figure:
    """Expected calibration error over ten bins (Guo 2017); all (cases,)."""
    drawn = np.array([_gap(probabilities[rows], labels[rows]) for rows in samples(owners)])
    value = _gap(probabilities, labels)
    return Figure(value, *around(value, drawn), len(labels))


def _gap(probabilities: NDArray[np.float64], labels: BoolArray, bins: int = 10) -> float:
    """Mean distance between stated and observed frequency, over bins of equal width."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        abs(probabilities[index == n].mean() - labels[index == n].mean()) * np.mean(index == n)
        for n in range(bins)
        if (index == n).any()
    ]
    return float(np.sum(gaps))

"""Whether a map names the right place: a calibrated chance, a verdict, and its reasons.

The chance is a logistic function of the numbers of ``explain.evidence``, fitted at packaging on
cases with masks (``fit``) and kept in the manifest. Each weight may only have the sign that its
number has by its meaning, so that no reason can contradict the verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from scipy.optimize import minimize
from scipy.special import expit

from dicom_node.domain import concepts
from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.explanation import Trust
from dicom_node.domain.trust import Number, VerdictNumber, VerdictPlan


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a number says."""

    name: Code
    sign: int
    """1: the higher, the better; -1: the lower."""
    meaning: str
    failed: str
    """The reason to give when it is on the wrong side of its limit."""


MEANINGS: Mapping[Number, Meaning] = {
    "inside": Meaning(
        concepts.ENERGY_INSIDE,
        1,
        "part of the heat map's evidence on the key slice that lies inside what the model outlined",
        "Much of the map's evidence lies outside of what the model itself outlined.",
    ),
    "overlap": Meaning(
        concepts.OVERLAP,
        1,
        "overlap of the hottest part of the map, of equal area, with what the model outlined",
        "The hottest part of the map is not what the model itself outlined.",
    ),
    "sure": Meaning(
        concepts.OUTLINE_SURE,
        1,
        "probability of what the model outlines, where the heat map's evidence lies",
        "The model itself is not sure of its outline where the map's evidence lies.",
    ),
    "outline_drop": Meaning(
        concepts.OUTLINE_DROP,
        1,
        "part of the score above the operating point that goes when what the model outlined is "
        "removed from the image",
        "The score stays high without what the model outlined: something else drives it.",
    ),
    "region_drop": Meaning(
        concepts.REGION_DROP,
        1,
        "part of the score above the operating point that goes when all places that the map shows "
        "strongly are removed from the image",
        "The score stays high without the places that the map shows strongly: the map misses what "
        "drives it.",
    ),
    "shift": Meaning(
        concepts.SHIFT_AGREEMENT,
        1,
        "agreement (rank correlation) with the map of the image moved by four pixels",
        "The map changes when the image is moved by a few pixels.",
    ),
    "expected": Meaning(
        concepts.EXPECTED_PLACE,
        1,
        "how often the training cases had such a finding where the evidence lies, against their "
        "most frequent place",
        "The map names a place where the training cases had no such finding.",
    ),
    "beyond": Meaning(
        concepts.BEYOND_BODY,
        -1,
        "part of the evidence that lies outside of the patient: in air, padding or writing",
        "Evidence lies outside of the patient: in air, padding or writing.",
    ),
    "border": Meaning(
        concepts.BORDER,
        -1,
        "part of the evidence that lies at the border of the image",
        "Evidence lies at the border of the image.",
    ),
    "spread": Meaning(
        concepts.SPREAD,
        -1,
        "part of the image over which the evidence is spread",
        "The evidence is spread over much of the image.",
    ),
    "outside": Meaning(
        concepts.UNFAMILIAR,
        -1,
        "distance of the key slice from the images that the model was trained on; above 1 it is "
        "outside of them",
        "The image is outside of what this model was trained on.",
    ),
}
OF_NUMBERS: Mapping[str, str] = {
    "region_drop": "part of the number that goes when all places that the map shows strongly are "
    "removed from the image",
}
"""Meanings where a quantity is explained, and no target."""
MOST_REASONS = 3
AGREE = "Its checks came out as they do for maps of test cases that name the right place."
UNSURE = "No single check failed; together they are weaker than those of maps that are right."
RIDGE = 0.003
"""Of the fit, on standardised numbers: where one decides all, others that agree count too."""
STEADY = 0.05
"""Deviation below which a number hardly changes, and must not decide."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a map can be believed."""

    chance: float
    """Of the map naming the right place, 0 to 1."""
    trust: Trust
    reasons: tuple[str, ...]


def judge(plan: VerdictPlan, numbers: Mapping[str, float]) -> Verdict:
    """The verdict on one map; all numbers of the plan must be there.

    No map of an image that lies outside of the training images is reliable: the chance was
    measured on images such as those.
    """
    total = plan.bias + sum(each.weight * numbers[each.name] for each in plan.numbers)
    chance = float(expit(total))
    trust = _trust(plan, chance)
    failed = _failed(plan, numbers)
    if trust is Trust.RELIABLE and _unfamiliar(plan, numbers):
        return Verdict(chance, Trust.CAUTION, (MEANINGS["outside"].failed,))
    if trust is Trust.RELIABLE:
        return Verdict(chance, trust, (AGREE,))
    return Verdict(chance, trust, tuple(failed[:MOST_REASONS]) or (UNSURE,))


def fit(names: Sequence[Number], numbers: NDArray[np.float64], hits: BoolArray) -> VerdictPlan:
    """The plan that makes ``hits``, (cases,), likeliest; ``numbers`` is (cases, names).

    Raises ValueError where all maps hit, or all miss: there is nothing to tell apart.
    """
    if hits.all() or not hits.any():
        raise ValueError("a verdict is fitted on maps that hit and maps that miss: give both")
    centre, scale = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), STEADY)
    weights, bias = _logistic((numbers - centre) / scale, hits, [MEANINGS[n].sign for n in names])
    weights = weights / scale
    kept = [
        VerdictNumber(name=name, weight=round(float(weight), 4), limit=round(limit, 4))
        for name, weight, limit in zip(names, weights, _limits(names, numbers[hits]), strict=True)
    ]
    return VerdictPlan(numbers=tuple(kept), bias=round(float(bias - weights @ centre), 4))


def _logistic(
    values: NDArray[np.float64], hits: BoolArray, signs: Sequence[int]
) -> tuple[NDArray[np.float64], float]:
    """Both kinds count the same, however many there are of each."""
    share = np.where(hits, 0.5 / hits.sum(), 0.5 / (~hits).sum())

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        total = values @ weights + bias
        likely = np.sum(share * (np.logaddexp(0, total) - hits * total))
        slope = share * (expit(total) - hits)
        gradient = np.append(values.T @ slope + RIDGE * weights, slope.sum())
        return float(likely + RIDGE / 2 * np.sum(weights**2)), gradient

    bounds = [(0, None) if sign > 0 else (None, 0) for sign in signs]
    start, free = np.zeros(len(signs) + 1), [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, *free])
    return found.x[:-1], float(found.x[-1])


def _limits(names: Sequence[Number], hits: NDArray[np.float64]) -> list[float]:
    parts = [0.05 if MEANINGS[name].sign > 0 else 0.95 for name in names]
    return [float(np.quantile(column, part)) for column, part in zip(hits.T, parts, strict=True)]


def _trust(plan: VerdictPlan, chance: float) -> Trust:
    if chance >= plan.reliable:
        return Trust.RELIABLE
    return Trust.NOT_RELIABLE if chance < plan.not_reliable else Trust.CAUTION


def _unfamiliar(plan: VerdictPlan, numbers: Mapping[str, float]) -> bool:
    limits = [each.limit for each in plan.numbers if each.name == "outside"]
    return numbers.get("outside", 0.0) > max([1.0, *limits])


def _failed(plan: VerdictPlan, numbers: Mapping[str, float]) -> list[str]:
    """Reasons of the numbers beyond their limits, the weightiest first."""
    short = {
        each.name: abs(each.weight) * MEANINGS[each.name].sign * (each.limit - numbers[each.name])
        for each in plan.numbers
    }
    order = sorted((name for name in short if short[name] > 0), key=lambda name: -short[name])
    return [MEANINGS[name].failed for name in order]

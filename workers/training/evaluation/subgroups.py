"""Whether a bundle serves some patients worse than others: figures by subgroup, and their gaps."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray
from workers.training.evaluation.figures import Cases, Values
from workers.training.measures import Figure

AGES = (18, 40, 65)
THICKNESSES_MM = (1.5, 3.0, 5.0)
FEW = 5
"""Cases below which a subgroup says nothing."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How a subgroup does."""

    value: Figure
    """Mean of its cases."""
    gap: Figure
    """That, less the mean of all other cases."""


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One subgroup."""

    name: str
    cases: int
    scores: Mapping[str, Gap]


def subgroups(cases: Cases, scores: Mapping[str, Values]) -> Mapping[str, list[Subgroup]]:
    """By what they differ in; only where there are two or more of at least ``FEW`` cases."""
    found = {}
    for fact in dict.fromkeys(name for each in cases.seen for name in each.facts):
        names = _names(fact, [each.facts.get(fact, "") for each in cases.seen])
        large = [n for n in sorted(set(names), key=_place) if n and (names == n).sum() >= FEW]
        if len(large) > 1 and scores:
            found[fact] = [_subgroup(cases, name, names == name, scores) for name in large]
    return found


def _subgroup(
    cases: Cases, name: str, members: BoolArray, scores: Mapping[str, Values]
) -> Subgroup:
    gaps = {score: _gap(cases, values, members) for score, values in scores.items()}
    return Subgroup(name, int(members.sum()), gaps)


def _gap(cases: Cases, values: Values, members: BoolArray) -> Gap:
    parts = [
        [v if there else None for v, there in zip(values, chosen, strict=True)]
        for chosen in (members, ~members)
    ]
    known = [[v for v in part if v is not None] for part in parts]
    yes_or_no = {*known[0], *known[1]} <= {0.0, 1.0}
    measure = cases.share if yes_or_no else cases.figure
    inside, outside = map(cases.of, parts)
    own, other = measure(inside, len(known[0])), measure(outside, len(known[1]))
    gap = cases.figure(lambda rows: inside(rows) - outside(rows), len(known[0]))
    still = yes_or_no and {own.value, other.value} & {0.0, 1.0}
    return Gap(own, _difference(own, other) if still else gap)


def _difference(one: Figure, other: Figure) -> Figure:
    """By the intervals of both (Newcombe 1998): of a share of 0 or 1 no sample differs."""
    below = hypot(one.value - one.low, other.high - other.value)
    above = hypot(one.high - one.value, other.value - other.low)
    gap = one.value - other.value
    return Figure(gap, max(-1.0, gap - below), min(1.0, gap + above), one.cases)


def _names(fact: str, values: list[str]) -> NDArray[np.str_]:
    """The subgroup of each case; empty where nothing is known."""
    if fact == "age":
        return np.array([_band(_years(value), AGES, "years") for value in values])
    if fact == "slice_thickness":
        return np.array([_band(_number(value), THICKNESSES_MM, "mm") for value in values])
    if fact == "largest_area":
        areas = np.array([_number(value) for value in values])
        edges = [float(f"{np.nanquantile(areas, part):.3g}") for part in (1 / 3, 2 / 3)]
        return np.array([_band(area, edges, "mm²") for area in areas])
    return np.array(values)


def _place(name: str) -> tuple[float, str]:
    """Bands by their lower edge, other names by themselves."""
    number = -np.inf if name.startswith("below ") else _number(name.split(" ")[0])
    return (0.0 if np.isnan(number) else number), name


def _band(value: float, edges: "list[float] | tuple[float, ...]", unit: str) -> str:
    if np.isnan(value):
        return ""
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return f"below {edges[0]:g} {unit}"
    if place == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g} {unit}"


def _years(text: str) -> float:
    """Of an Age String (PS3.5 section 6.2), or of a plain number."""
    if text[-1:].isalpha():
        days = {"D": 1, "W": 7, "M": 30.4, "Y": 365.25}
        return _number(text[:-1]) * days.get(text[-1].upper(), np.nan) / 365.25
    return _number(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan

"""Whether a bundle serves some patients worse than others: figures by subgroup, and their gaps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray
from workers.training.evaluation.figures import Cases, Rows
from workers.training.measures import Figure

AGES = (18, 40, 65)
THICKNESSES_MM = (1.5, 3.0, 5.0)
FEW = 5
"""Cases below which a subgroup says nothing."""


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One subgroup."""

    name: str
    right: Figure
    """Share of its cases that were called right."""
    gap: Figure
    """That share, less the share of all other cases."""


def subgroups(cases: Cases) -> Mapping[str, list[Subgroup]]:
    """By what they differ in; only where there are two or more of at least ``FEW`` cases."""
    found = {}
    for fact in dict.fromkeys(name for each in cases.seen for name in each.facts):
        names = _names(fact, [each.facts.get(fact, "") for each in cases.seen])
        large = [n for n in dict.fromkeys(sorted(names)) if n and (names == n).sum() >= FEW]
        if len(large) > 1:
            found[fact] = [_subgroup(cases, name, names == name) for name in large]
    return found


def _subgroup(cases: Cases, name: str, members: BoolArray) -> Subgroup:
    right = cases.right

    def share(rows: Rows) -> float:
        inside = right[rows][members[rows]]
        return float(inside.mean()) if len(inside) else np.nan

    def gap(rows: Rows) -> float:
        outside = right[rows][~members[rows]]
        return share(rows) - float(outside.mean()) if len(outside) else np.nan

    count = int(members.sum())
    return Subgroup(name, cases.share(share, count), cases.figure(gap, count))


def _names(fact: str, values: list[str]) -> NDArray[np.str_]:
    """The subgroup of each case; empty where nothing is known."""
    if fact == "age":
        return np.array([_band(_years(value), AGES, "years") for value in values])
    if fact == "slice_thickness":
        return np.array([_band(_number(value), THICKNESSES_MM, "mm") for value in values])
    if fact == "largest_area":
        areas = np.array([_number(value) for value in values])
        edges = [float(np.nanquantile(areas, part)) for part in (1 / 3, 2 / 3)]
        return np.array([_band(area, edges, "mm²") for area in areas])
    return np.array(values)


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

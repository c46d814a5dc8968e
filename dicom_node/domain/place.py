"""Where findings lie in a study, by which a later run on it knows them again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import dist
from typing import Any, Self

Point = tuple[float, float, float]
MARGIN = 5.0
"""Millimetres, or pixels: an outline that grows, shrinks or moves so little is the same one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A box with its centre, in patient coordinates, or in (frame, row, column) of one image."""

    space: str
    """What the numbers count in: a frame of reference, an image, or a side of the body."""
    name: str
    """For people: ``L12 P40 H57 mm``."""
    center: Point
    low: Point
    high: Point

    def distance(self, other: "Place") -> float | None:
        """Between the centres; none where neither lies in the box of the other, or beside it."""
        if self.space != other.space or not (self._holds(other) or other._holds(self)):
            return None
        return dist(self.center, other.center)

    def _holds(self, other: "Place") -> bool:
        edges = zip(self.low, other.center, self.high, strict=True)
        return all(low - MARGIN <= value <= high + MARGIN for low, value, high in edges)


@dataclass(frozen=True, slots=True)
class Tracked:
    """What was found at a place, and what it is called in every run."""

    label: str
    """Of the target."""
    tracking_id: str
    tracking_uid: str
    place: Place

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """What ``plain`` gave."""
        given = dict(plain["place"])
        corners = {name: tuple(given[name]) for name in ("center", "low", "high")}
        return cls(**{**plain, "place": Place(**{**given, **corners})})

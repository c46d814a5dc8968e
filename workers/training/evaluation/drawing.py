"""Charts as SVG, each a picture of one square: no script, no outside request.

What is drawn in it lies between 0 and 1; a ``Scale`` takes other numbers there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from markupsafe import Markup, escape

SIZE, EDGE = 260, 44
Point = tuple[float, float]
STEPS = (1, 2, 2.5, 5, 10)
"""Times a power of ten: between ticks."""
INTERVALS = 5
"""Between ticks, at most."""


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from one round number to another."""

    ticks: tuple[float, ...]

    @classmethod
    def holding(cls, values: Iterable[float]) -> Self:
        """One on which all of these lie; infinite ones and those that are no number do not count"""
        known = [value for value in values if np.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        span = max(high - low, abs(high) * 1e-3, 1e-6)
        power = 10.0 ** np.floor(np.log10(span / INTERVALS))
        for step in (power * factor for factor in (*STEPS, 20)):
            first, last = np.floor(low / step), np.ceil(high / step)
            if last - first <= INTERVALS:
                break
        return cls(tuple(float(step * n) for n in np.arange(first, max(last, first + 1) + 1)))

    def __call__(self, value: float) -> float:
        """The place of a number, 0 to 1."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])


UNIT = Scale((0.0, 0.25, 0.5, 0.75, 1.0))


def chart(
    title: str,
    across: str,
    up: str,
    parts: Iterable[Markup],
    scales: tuple[Scale, Scale] = (UNIT, UNIT),
) -> Markup:
    """A square with axes, across and up, and what is drawn in it."""
    side = SIZE + 2 * EDGE
    return Markup(
        '<svg viewBox="0 0 {side} {side}" role="img" aria-label="{title}">'
        '<text class="title" x="{middle}" y="18">{title}</text>'
        '{grid}{parts}<rect class="frame" x="{edge}" y="{edge}" width="{size}" height="{size}"/>'
        '<text x="{middle}" y="{low}">{across}</text>'
        '<text transform="translate(12 {middle}) rotate(-90)">{up}</text></svg>'
    ).format(
        side=side,
        title=title,
        middle=side / 2,
        grid=_grid(*scales),
        parts=Markup("").join(parts),
        edge=EDGE,
        size=SIZE,
        low=side - 8,
        across=across,
        up=up,
    )


def line(points: Sequence[Point], kind: str) -> Markup:
    """Through the points, in the colour of a CSS class."""
    return Markup('<polyline class="{}" points="{}"/>').format(kind, _places(points))


def band(low: Sequence[Point], high: Sequence[Point], kind: str) -> Markup:
    """The area between two lines."""
    edge = [*low, *reversed(high)]
    return Markup('<polygon class="band {}" points="{}"/>').format(kind, _places(edge))


def dot(point: Point, kind: str, words: str, size: float = 4) -> Markup:
    """One point, and what it says when it is pointed at."""
    x, y = _place(point)
    return Markup(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>'
    ).format(kind, x, y, size, words)


def bar(left: float, right: float, height: float, kind: str) -> Markup:
    """From the ground up."""
    (x, y), (far, ground) = _place((left, height)), _place((right, 0))
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        kind, x, y, far - x, ground - y
    )


def diagonal() -> Markup:
    """What chance, or perfect calibration, looks like."""
    return line([(0, 0), (1, 1)], "chance")


def _grid(across: Scale, up: Scale) -> Markup:
    text = Markup('<text class="tick{}" x="{:.1f}" y="{:.1f}">{:g}</text>')
    marks = [
        text.format("", _place((across(tick), 0))[0], EDGE + SIZE + 14, round(tick, 9))
        for tick in across.ticks
    ]
    marks += [
        text.format(" up", EDGE - 5, _place((0, up(tick)))[1] + 3, round(tick, 9))
        for tick in up.ticks
    ]
    return Markup("").join(marks)


def _places(points: Sequence[Point]) -> str:
    return escape(" ".join("{:.1f},{:.1f}".format(*_place(point)) for point in points))


def _place(point: Point) -> Point:
    x, y = np.clip(point, 0, 1)
    return EDGE + SIZE * float(x), EDGE + SIZE * (1 - float(y))

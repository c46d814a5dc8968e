"""Charts as SVG, each a picture of one square from 0 to 1: no script, no outside request."""

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape

SIZE, EDGE = 260, 44
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
Point = tuple[float, float]


def chart(title: str, across: str, up: str, parts: Iterable[Markup]) -> Markup:
    """A square with axes, and what is drawn in it."""
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
        grid=_grid(),
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


def _grid() -> Markup:
    return Markup("").join(
        Markup('<text class="tick" x="{:.1f}" y="{}">{:g}</text>'
               '<text class="tick up" x="{}" y="{:.1f}">{:g}</text>').format(
            _place((tick, 0))[0], EDGE + SIZE + 14, tick, EDGE - 5, _place((0, tick))[1] + 3, tick
        )
        for tick in TICKS
    )  # fmt: skip


def _places(points: Sequence[Point]) -> str:
    return escape(" ".join("{:.1f},{:.1f}".format(*_place(point)) for point in points))


def _place(point: Point) -> Point:
    x, y = np.clip(point, 0, 1)
    return EDGE + SIZE * float(x), EDGE + SIZE * (1 - float(y))

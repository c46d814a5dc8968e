"""ROC, precision-recall and reliability of the cases as charts, with 95 % bands."""

from collections.abc import Callable, Iterator

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from dicom_node.domain.arrays import BoolArray, FloatArray
from workers.training.evaluation import drawing
from workers.training.evaluation.figures import BINS, Cases

CURVES = 200
"""Samples of patients that a band is made of."""
AT = np.linspace(0, 1, 101)
Curve = Callable[[BoolArray, FloatArray], NDArray[np.floating]]
"""Heights at ``AT``."""


def roc(cases: Cases, column: int) -> Markup:
    """Sensitivity over 1 - specificity, and the operating point."""
    parts = [drawing.diagonal(), *_curve(cases, column, _roc)]
    truth, calls = cases.truth[:, column], cases.calls[:, column]
    if truth.any() and not truth.all():
        place = float(calls[~truth].mean()), float(calls[truth].mean())
        parts.append(drawing.dot(place, "point", "operating point"))
    return drawing.chart("ROC", "1 - specificity", "sensitivity", parts)


def precision_recall(cases: Cases, column: int) -> Markup:
    """Precision over recall; the line across is what chance gives."""
    chance = float(cases.truth[:, column].mean())
    parts = [
        drawing.line([(0, chance), (1, chance)], "chance"),
        *_curve(cases, column, _precision),
    ]
    return drawing.chart("Precision and recall", "recall (sensitivity)", "precision", parts)


def reliability(cases: Cases) -> Markup:
    """How often what was stated with a probability came true; bars say how often it was stated."""
    said, true = cases.stated
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    parts, points = [drawing.diagonal()], []
    for number in np.unique(bins):
        inside = bins == number
        count, share = int(inside.sum()), float(true[inside].mean())
        edges = number / BINS, (number + 1) / BINS
        parts.append(drawing.bar(*edges, count / len(said), "count"))
        points.append((float(said[inside].mean()), share))
        parts.append(drawing.dot(points[-1], "point", f"{share:.0%} of {count}"))
    return drawing.chart(
        "Reliability", "stated probability", "came true", [*parts, drawing.line(points, "curve")]
    )


def _curve(cases: Cases, column: int, curve: Curve) -> Iterator[Markup]:
    truth, said = cases.truth[:, column], cases.probabilities[:, column]
    if not 0 < truth.sum() < len(truth):
        return
    drawn = (rows for rows in cases.samples(CURVES) if 0 < truth[rows].sum() < len(rows))
    heights = [curve(truth[rows], said[rows]) for rows in drawn]
    low, high = np.quantile(heights, (0.025, 0.975), axis=0)
    yield drawing.band(_points(low), _points(high), "curve")
    yield drawing.line(_points(curve(truth, said)), "curve")


def _points(heights: NDArray[np.floating]) -> list[drawing.Point]:
    return [(float(x), float(y)) for x, y in zip(AT, heights, strict=True)]


def _roc(truth: BoolArray, said: FloatArray) -> NDArray[np.floating]:
    false, true, _ = roc_curve(truth, said)
    return np.asarray(np.interp(AT, false, true))


def _precision(truth: BoolArray, said: FloatArray) -> NDArray[np.floating]:
    """In steps, for a line between two points promises too much (Davis and Goadrich 2006).

    Of several points with one recall, the strictest: the others call more for nothing.
    """
    precision, recall, _ = precision_recall_curve(truth, said)
    reached, strictest = np.unique(recall[::-1], return_index=True)
    return np.asarray(precision[::-1][strictest][np.searchsorted(reached, AT - 1e-9)])

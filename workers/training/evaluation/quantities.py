"""Regression: how far the numbers are from the true ones."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.outputs import Quantity, Regression
from workers.findings import Answers
from workers.training.dataset import Example
from workers.training.evaluation import drawing
from workers.training.evaluation.figures import Cases, Statistic, Values
from workers.training.evaluation.seen import Seen
from workers.training.measures import Figure, Z


def numbers(
    plan: Regression | None, answers: Answers, example: Example
) -> Mapping[str, tuple[float, float]]:
    """True and said, of the quantities whose true number is in the table."""
    said = {each.label: each.measurements[0].value for each in answers.estimates if each.quantity}
    true = {quantity.label: truth(quantity, example) for quantity in quantities(plan)}
    return {label: (value, said[label]) for label, value in true.items() if value is not None}


def quantities(plan: Regression | None) -> Sequence[Quantity]:
    """Those that a model measures."""
    return plan.quantities if plan else ()


def truth(quantity: Quantity, example: Example) -> float | None:
    """What the table says of it. Raises ConfigurationError where that is no number."""
    written = (example.columns or {}).get(quantity.label.casefold(), "")
    if not written:
        return None
    try:
        number = float(written)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise ConfigurationError(
            f"{example.name}: the column {quantity.label} says {written!r}, which is no number in "
            f"{quantity.unit.meaning}"
        )
    return number


def figures(cases: Cases) -> Mapping[str, Figure]:
    """Mean absolute error, and how far the numbers lie above or below (Bland 1986)."""
    found: dict[str, Figure] = {}
    for quantity in quantities(cases.manifest.regression):
        wrong = _errors(cases, quantity.label)
        known = np.array([np.nan if each is None else each for each in wrong])
        count, unit = int((~np.isnan(known)).sum()), quantity.unit.meaning
        if count < 2:
            continue
        of = {
            "mean absolute error": cases.of([None if e is None else abs(e) for e in wrong]),
            "bias": cases.of(wrong),
            "lower limit of agreement": _limit(known, -Z),
            "upper limit of agreement": _limit(known, Z),
        }
        found |= {
            f"{quantity.label}: {name} ({unit})": cases.figure(statistic, count)
            for name, statistic in of.items()
        }
    return found


def scores(cases: Cases) -> Mapping[str, Values]:
    """For subgroups."""
    return {
        f"{quantity.label}: absolute error ({quantity.unit.meaning})": [
            None if each is None else abs(each) for each in _errors(cases, quantity.label)
        ]
        for quantity in quantities(cases.manifest.regression)
    }


def charts(cases: Cases, quantity: Quantity) -> Sequence[Markup]:
    """What was said over what is true, and Bland-Altman; none of fewer than two cases."""
    pairs = np.array([e.numbers[quantity.label] for e in cases.seen if quantity.label in e.numbers])
    return [_scatter(pairs, quantity), _bland_altman(pairs, quantity)] if len(pairs) > 1 else []


def _scatter(pairs: NDArray[np.float64], quantity: Quantity) -> Markup:
    unit = quantity.unit.meaning
    scale = drawing.Scale.holding(pairs.ravel())
    dots = [
        drawing.dot((scale(true), scale(said)), "case", f"true {true:.4g}, said {said:.4g}", 3)
        for true, said in pairs
    ]
    title = f"{quantity.label}: said and true"
    axes = f"true ({unit})", f"said ({unit})"
    return drawing.chart(title, *axes, [drawing.diagonal(), *dots], (scale, scale))


def _bland_altman(pairs: NDArray[np.float64], quantity: Quantity) -> Markup:
    """Differences over means; lines: the bias, and the limits that hold 95 % of differences."""
    unit, means, differences = quantity.unit.meaning, pairs.mean(axis=1), pairs[:, 1] - pairs[:, 0]
    bias, spread = differences.mean(), Z * differences.std(ddof=1)
    across = drawing.Scale.holding(means)
    up = drawing.Scale.holding([*differences, bias - spread, bias + spread, 0.0])
    parts = [
        drawing.line([(0, up(height)), (1, up(height))], kind)
        for height, kind in (
            (0.0, "chance"), (bias, "curve"), (bias - spread, "limit"), (bias + spread, "limit"),
        )
    ]  # fmt: skip
    parts += [
        drawing.dot((across(mean), up(each)), "case", f"{each:+.3g} at {mean:.4g}", 3)
        for mean, each in zip(means, differences, strict=True)
    ]
    title = f"{quantity.label}: Bland-Altman"
    axes = f"mean of said and true ({unit})", f"said less true ({unit})"
    return drawing.chart(title, *axes, parts, (across, up))


def _errors(cases: Cases, label: str) -> Values:
    return [_error(each, label) for each in cases.seen]


def _error(seen: Seen, label: str) -> float | None:
    true, said = seen.numbers.get(label, (None, None))
    return None if true is None or said is None else said - true


def _limit(errors: NDArray[np.float64], deviations: float) -> Statistic:
    def statistic(rows: NDArray[np.intp]) -> float:
        known = errors[rows][~np.isnan(errors[rows])]
        if len(known) < 2:
            return np.nan
        return float(known.mean() + deviations * known.std(ddof=1))

    return statistic

"""Detection: how many of what is there is found, and how many boxes show nothing (FROC)."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import Finding, Presence
from dicom_node.domain.outputs import Detection, Target
from dicom_node.domain.prediction import Box
from workers.findings import Case
from workers.outputs.detection import answer
from workers.training.evaluation import drawing
from workers.training.evaluation.figures import Cases, Rows
from workers.training.evaluation.seen import Boxes
from workers.training.measures import Figure

THRESHOLDS = tuple(round(0.95 - 0.05 * n, 2) for n in range(19))
"""At which a detector is asked again what it would report, the strictest first."""
CURVES = 200
"""Samples of patients that a band is made of."""
AT = np.linspace(0, 1, 101)


def boxes(case: Case, plan: Detection, truth: BoolArray | None) -> Mapping[str, Boxes]:
    """By target; ``truth`` is (targets, frames, rows, columns), each connected part one of it."""
    if truth is None:
        return {}
    found = {}
    for target, there in zip(plan.targets, truth, strict=True):
        parts = _parts(there)
        each = [_matched(_reported(case, plan, target, at), parts) for at in points(target)]
        hits, false = np.array(each).T
        found[target.label] = Boxes(len(parts), hits, false)
    return found


def points(target: Target) -> Sequence[float]:
    """The thresholds, and the operating point last."""
    return (*THRESHOLDS, target.threshold)


def figures(cases: Cases) -> Mapping[str, Figure]:
    """At the operating point, and the average precision over all."""
    found: dict[str, Figure] = {}
    for target in cases.manifest.detection.targets if cases.manifest.detection else ():
        if not (known := Counted.of(cases, target)):
            continue
        count = int((~np.isnan(known.there)).sum())
        name = target.label
        found[f"{name}: sensitivity of boxes"] = cases.share(known.found, count)
        found[f"{name}: false boxes a case"] = cases.figure(known.false_ones, count)
        found[f"{name}: average precision of boxes"] = cases.share(known.average_precision, count)
    return found


class Counted:
    """Boxes of one target in all cases; nan where there is no mask."""

    def __init__(self, there: NDArray[np.float64], hits: NDArray[np.float64],
                 false: NDArray[np.float64]) -> None:  # fmt: skip
        self.there, self.hits, self.false = there, hits, false

    @classmethod
    def of(cls, cases: Cases, target: Target) -> "Counted | None":
        """None where no case has a mask that shows one."""
        none = np.full(len(THRESHOLDS) + 1, np.nan)
        each = [seen.boxes.get(target.label) for seen in cases.seen]
        there = np.array([np.nan if b is None else b.there for b in each], np.float64)
        if not np.nansum(there):
            return None
        hits, false = (
            np.stack([none if b is None else getattr(b, name) for b in each]).astype(np.float64)
            for name in ("hits", "false")
        )
        return cls(there, hits, false)

    def sensitivity(self, rows: Rows) -> NDArray[np.float64]:
        """(thresholds,): part of all that are there."""
        total = np.nansum(self.there[rows])
        found = np.nansum(self.hits[rows], axis=0)
        return np.asarray(found / total if total else np.full(len(found), np.nan))

    def false_a_case(self, rows: Rows) -> NDArray[np.float64]:
        """(thresholds,)."""
        count = int((~np.isnan(self.there[rows])).sum())
        false = np.nansum(self.false[rows], axis=0)
        return np.asarray(false / count if count else np.full(len(false), np.nan))

    def found(self, rows: Rows) -> float:
        """The sensitivity at the operating point."""
        return float(self.sensitivity(rows)[-1])

    def false_ones(self, rows: Rows) -> float:
        """False boxes a case there."""
        return float(self.false_a_case(rows)[-1])

    def average_precision(self, rows: Rows) -> float:
        """Area under the steps of precision over recall."""
        recall, precision = self.sensitivity(rows)[:-1], self.precision(rows)[:-1]
        if np.isnan(recall).any():
            return np.nan
        best = np.maximum.accumulate(recall)
        return float(np.sum(np.diff(best, prepend=0.0) * precision))

    def precision(self, rows: Rows) -> NDArray[np.float64]:
        """(thresholds,); 1 where no box is reported."""
        hits, false = (np.nansum(values[rows], axis=0) for values in (self.hits, self.false))
        some = hits + false > 0
        return np.asarray(np.divide(hits, hits + false, out=np.ones_like(hits), where=some))


def froc(cases: Cases, target: Target) -> Sequence[Markup]:
    """Sensitivity over false boxes a case, with a band; none where no mask shows one."""
    known = Counted.of(cases, target)
    if known is None:
        return []
    every = np.arange(len(cases.seen))
    false, found = known.false_a_case(every), known.sensitivity(every)
    scale = drawing.Scale.holding([0.0, float(false.max()), 0.1])

    def heights(rows: Rows) -> NDArray[np.float64]:
        steps = [scale(x) for x in known.false_a_case(rows)[:-1]]
        ways = np.maximum.accumulate(known.sensitivity(rows)[:-1])
        return np.asarray(np.interp(AT, np.maximum.accumulate(steps), ways, left=0.0))

    low, high = np.nanquantile([heights(rows) for rows in cases.samples(CURVES)], (0.025, 0.975), 0)
    parts = [
        drawing.band(_points(low), _points(high), "curve"),
        drawing.line(_points(heights(every)), "curve"),
        drawing.dot((scale(float(false[-1])), float(found[-1])), "point", "operating point"),
    ]
    axes = "false boxes a case", "sensitivity"
    return [drawing.chart(f"{target.label}: FROC", *axes, parts, (scale, drawing.UNIT))]


def _points(heights: NDArray[np.float64]) -> list[drawing.Point]:
    return [(float(x), float(y)) for x, y in zip(AT, heights, strict=True)]


def _reported(case: Case, plan: Detection, target: Target, threshold: float) -> Sequence[Box]:
    """Of one target, the likeliest first."""
    asked = target.model_copy(update={"threshold": threshold})
    others = [asked if each == target else each for each in plan.targets]
    found = answer(case, plan.model_copy(update={"targets": tuple(others)})).findings
    return [f.box for f in found if _is(f, asked) and f.box is not None]


def _is(finding: Finding, target: Target) -> bool:
    return finding.target == target and finding.presence is Presence.PRESENT


def _parts(mask: BoolArray) -> Sequence[tuple[slice, ...]]:
    """The box around each connected part."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return [box for box in ndimage.find_objects(labels) if box is not None]


def _matched(found: Sequence[Box], parts: Sequence[tuple[slice, ...]]) -> tuple[int, int]:
    """Parts whose surrounding box holds the middle of one, and boxes that are left over."""
    free = list(parts)
    for box in found:
        hit = next((part for part in free if _holds(part, box)), None)
        if hit is not None:
            free.remove(hit)
    hits = len(parts) - len(free)
    return hits, len(found) - hits


def _holds(part: tuple[slice, ...], box: Box) -> bool:
    frame, row, column = box.center
    at = (frame, row, column)
    return all(side.start - 0.5 <= x < side.stop - 0.5 for side, x in zip(part, at, strict=True))

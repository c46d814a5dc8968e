"""Do maps hit? Tried on series whose masks are known; what packaging fits a verdict on."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Answer, Estimate, Finding, Presence
from dicom_node.domain.provenance import Provenance
from dicom_node.domain.trust import Number, VerdictPlan
from explain.evidence import Seen, weigh
from explain.verdict import MEANINGS, fit, judge
from workers.analysis import saliency_of
from workers.asked import Asked
from workers.findings import Case, place_named
from workers.model import Model
from workers.prediction import answer, predict
from workers.steps.prepared import Prepared
from workers.training.measures import (
    Figure,
    Owners,
    calibration_error,
    mean,
    proportion,
    samples,
    share_of,
)


@dataclass(frozen=True, slots=True)
class Tried:
    """The map of one present finding, or of one number, and whether it is right."""

    numbers: Mapping[str, float]
    hit: bool
    """The centre of its region lies in the mask, on the key slice."""
    precision: float
    """Area under the curve of precision and recall of its pixels (AUPRC), on the model's grid."""
    centre: bool
    """The middle of the image lies in the mask."""
    average: bool
    """The peak of the average mask does; false where the bundle brings none along."""
    peak: float
    """The highest value of the map, in logits, or in the number's unit."""
    patient: str = ""
    """Of whom it is; a map of nobody counts by itself."""


def tried(
    model: Model,
    prepared: Prepared,
    truth: BoolArray | Callable[[Answer], BoolArray],
    provenance: Provenance,
    labels: Collection[str] = (),
    *,
    patient: str = "",
    weighed: bool = True,
) -> Iterator[Tried]:
    """Of each present finding, and of the numbers with these labels; of views one of each.

    ``truth`` is (frames, rows, columns) on the source's grid: where the findings are, or what the
    numbers measure; or it says so of each answer. The numbers of those that are not ``weighed`` are
    left out.
    """
    prediction, maps = predict(model, prepared)
    asked = Asked(model, prepared, prediction)
    for each in _places(asked, provenance, labels):
        saliency = saliency_of(each, maps, asked)
        found = place_named(each, saliency, prepared.source, _level(asked))
        if found is None:
            continue
        seen = asked.seen(each, saliency)
        drawn = truth(each) if callable(truth) else truth
        mask = prepared.grid.sample(drawn[each.frame][None].astype(np.float32))[0] >= 0.5
        again = partial(asked.again, each)
        yield Tried(
            numbers=weigh(seen, _level(asked), again).numbers if weighed else {},
            hit=bool(drawn[tuple(round(index) for index in found.centroid)]),
            precision=precision(seen.values, mask) if mask.any() else 0.0,
            centre=bool(mask[tuple(side // 2 for side in mask.shape)]),
            average=_average_hits(seen, mask),
            peak=float(seen.values.max()),
            patient=patient,
        )


def named(labels: Sequence[str], among: Collection[str]) -> BoolArray:
    """(labels,): which of a manifest's labels stand in a table, in whatever case."""
    written = {label.casefold() for label in among}
    return np.array([label.casefold() in written for label in labels], bool)


def _places(
    asked: Asked, provenance: Provenance, labels: Collection[str]
) -> Iterator[Finding | Estimate]:
    """Answers that a map explains: of several views once for each, as if it were the key image."""
    case = Case(asked.model.manifest, provenance, asked.prepared.source, asked.prediction)
    said = answer(case)
    found: list[Finding | Estimate] = [
        *(each for each in said.findings if each.presence is Presence.PRESENT),
        *(each for each in said.estimates if named([each.label], labels).all()),
    ]
    for each in filter(asked.explains, found):
        yield from (replace(each, frame=frame) for frame in _views(asked, each.frame))


def _views(asked: Asked, frame: int) -> Sequence[int]:
    """The frames of the views that were read with a frame; of other units that one alone."""
    if asked.model.manifest.input.unit != "views":
        return (frame,)
    return next((side for side in asked.prediction.together if frame in side), (frame,))


def _level(asked: Asked) -> float:
    return asked.model.manifest.explanation.region_level


def fitted(tries: Sequence[Tried]) -> VerdictPlan | None:
    """The verdict of a bundle; none where all maps hit, or none does."""
    hits = np.array([each.hit for each in tries], bool)
    if hits.all() or not hits.any():
        return None
    names = names_of(tries)
    return fit(names, table(tries, names), hits)


def natural(tries: Sequence[Tried]) -> VerdictPlan | None:
    """The verdict whose chance is that of maps that hit as often as these.

    ``fitted`` counts hits and misses alike, for the misses of twins are as many as one makes.
    """
    plan = fitted(tries)
    if plan is None:
        return None
    hits = sum(each.hit for each in tries)
    prior = float(np.log(hits / (len(tries) - hits)))
    return plan.model_copy(update={"bias": round(plan.bias + prior, 4)})


def names_of(tries: Iterable[Tried]) -> tuple[Number, ...]:
    """The numbers that all of them have."""
    tries = list(tries)
    return tuple(name for name in MEANINGS if all(name in each.numbers for each in tries))


def table(tries: Sequence[Tried], names: Sequence[Number]) -> NDArray[np.float64]:
    """(tries, names)."""
    return np.array([[each.numbers[name] for name in names] for each in tries])


def owners_of(tries: Sequence[Tried]) -> Owners:
    """(tries,): a number for each patient, and for each map of nobody."""
    names = [each.patient or number for number, each in enumerate(tries)]
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.intp)


@dataclass(frozen=True)
class Judged:
    """A verdict, measured on maps that it was not fitted on; all (maps,)."""

    chances: NDArray[np.float64]
    trusts: NDArray[np.str_]
    hits: BoolArray
    owners: Owners

    @property
    def confusion(self) -> Mapping[tuple[bool, Trust], int]:
        """(hit, trust): number of maps."""
        return Counter(zip(self.hits.tolist(), map(Trust, self.trusts), strict=True))

    @property
    def lines(self) -> list[str]:
        """The confusion matrix, to be printed."""
        trusts = (Trust.RELIABLE, Trust.CAUTION, Trust.NOT_RELIABLE)
        head = f"{'':8}" + "".join(f"{trust.value:>14}" for trust in trusts)
        rows = [
            f"{name:8}" + "".join(f"{self.confusion.get((hit, t), 0):>14}" for t in trusts)
            for hit, name in ((True, "hits"), (False, "misses"))
        ]
        return [head, *rows]

    def called(self, *trusts: Trust, hit: bool) -> Figure:
        """Part of the maps that hit, or of those that miss, with one of these verdicts."""
        own = self.hits == hit
        return share_of(np.isin(self.trusts[own], trusts), self.owners[own])

    def hitting(self, trust: Trust) -> Figure:
        """Part of the maps with a verdict that hit; of no map where none has it."""
        own = self.trusts == trust
        return share_of(self.hits[own], self.owners[own])


def judged(plan: VerdictPlan, tries: Sequence[Tried]) -> Judged:
    """How well the verdict tells hits from misses."""
    verdicts = [judge(plan, each.numbers) for each in tries]
    return Judged(
        chances=np.array([verdict.chance for verdict in verdicts]),
        trusts=np.array([verdict.trust for verdict in verdicts]),
        hits=np.array([each.hit for each in tries], bool),
        owners=owners_of(tries),
    )


def figures(right: Sequence[Tried], verdict: Judged) -> Mapping[str, Figure]:
    """For the card."""
    precisions = np.array([each.precision for each in right])
    return {
        "Heat map pixels, area under precision and recall": mean(precisions, owners_of(right)),
        "Verdict on maps: area under the ROC curve of hits against misses": _area(verdict),
        "Verdict on maps: calibration error of its chance": calibration_error(
            verdict.chances, verdict.hits, verdict.owners
        ),
        "Maps that miss called not reliable": verdict.called(Trust.NOT_RELIABLE, hit=False),
        "Maps that hit called not reliable": verdict.called(Trust.NOT_RELIABLE, hit=True),
    }


def auroc(scores: NDArray[np.float64], labels: BoolArray) -> float:
    """Chance that a map that hits scores above one that misses; ties count half."""
    above = scores[labels][:, None] - scores[~labels][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def precision(values: FloatArray, mask: BoolArray) -> float:
    """Average precision of a map's pixels against a mask; those that are alike come in together."""
    return float(average_precision_score(mask.ravel(), values.ravel()))


def _area(verdict: Judged) -> Figure:
    """Over samples of patients; where none differs, as for as many of the rarer kind."""
    chances, hits, owners = verdict.chances, verdict.hits, verdict.owners
    both = (rows for rows in samples(owners) if 0 < hits[rows].sum() < len(rows))
    drawn = [auroc(chances[rows], hits[rows]) for rows in both]
    value, (low, high) = auroc(chances, hits), np.quantile(drawn, (0.025, 0.975))
    if low == high:
        few = min(len(np.unique(owners[hits == hit])) for hit in (True, False))
        likely = proportion(round(value * few), few)
        low, high = likely.low, likely.high
    return Figure(value, float(low), float(high), len(hits))


def _average_hits(seen: Seen, mask: BoolArray) -> bool:
    return seen.expected is not None and bool(mask.flat[seen.expected.argmax()])

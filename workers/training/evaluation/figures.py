"""Figures of a bundle on a data set, with intervals from samples of patients, not of cases.

Where the data does not say who the patients are, each case counts by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.manifest import ModelManifest
from workers.training.evaluation.seen import Seen
from workers.training.measures import Figure, around, proportion

SAMPLES = 500
BINS = 10
Rows = NDArray[np.intp]
Statistic = Callable[[Rows], float]
"""Of some rows of the cases; nan where they do not tell."""
Values = Sequence[float | None]
"""Of each case; none where it has none."""


@dataclass(frozen=True)
class Cases:
    """All cases as arrays."""

    seen: Sequence[Seen]
    manifest: ModelManifest

    @cached_property
    def truth(self) -> BoolArray:
        """(cases, targets)."""
        return np.stack([each.truth for each in self.seen])

    @cached_property
    def probabilities(self) -> FloatArray:
        """(cases, targets)."""
        return np.stack([each.probabilities for each in self.seen])

    @cached_property
    def units(self) -> Sequence[Rows]:
        """What intervals draw: the rows of each patient, and each row of nobody known."""
        rows: dict[str | int, list[int]] = {}
        for row, each in enumerate(self.seen):
            rows.setdefault(row if each.patient is None else each.patient, []).append(row)
        return [np.array(members) for members in rows.values()]

    @cached_property
    def patients(self) -> int:
        """How many are known."""
        return len({each.patient for each in self.seen} - {None})

    @cached_property
    def unknown(self) -> int:
        """Of how many cases the data does not say who they are of."""
        return sum(each.patient is None for each in self.seen)

    @property
    def unit(self) -> str:
        """What samples are made of."""
        return "cases" if self.unknown else "patients"

    @property
    def exclusive(self) -> bool:
        """Whether one answer at most is true."""
        plan = self.manifest.classification
        return plan is not None and plan.exclusive

    @cached_property
    def calls(self) -> BoolArray:
        """(cases, targets): what the report calls present."""
        return np.stack([each.called for each in self.seen])

    @cached_property
    def right(self) -> BoolArray:
        """(cases,): every target was called what it is."""
        return np.asarray((self.calls == self.truth).all(axis=1))

    @cached_property
    def stated(self) -> tuple[FloatArray, BoolArray]:
        """Probabilities and whether they came true: of the likeliest answer where answers exclude
        each other, else of all targets."""
        if not self.exclusive:
            return self.probabilities.ravel(), self.truth.ravel()
        rest = np.clip(1 - self.probabilities.sum(axis=1, keepdims=True), 0, 1)
        said = np.concatenate([self.probabilities, rest], axis=1)
        true = np.concatenate([self.truth, ~self.truth.any(axis=1, keepdims=True)], axis=1)
        rows, best = np.arange(len(said)), said.argmax(axis=1)
        return said[rows, best], true[rows, best]

    def of(self, values: Values) -> Statistic:
        """The mean of what cases have a value for."""
        known = np.array([np.nan if value is None else float(value) for value in values])
        return lambda rows: float(_mean(known[rows]))

    def samples(self, count: int) -> Iterator[Rows]:
        """The rows of as many ``units``, drawn again and again: the same in every run."""
        rng, groups = np.random.default_rng(0), self.units
        for _ in range(count):
            drawn = rng.integers(0, len(groups), len(groups))
            yield np.concatenate([groups[number] for number in drawn])

    def figure(self, statistic: Statistic, cases: int | None = None) -> Figure:
        """The statistic, and the middle 95 % of it over seeded samples of ``units``."""
        known = self._sampled(statistic)
        low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
        return Figure(self._of_all(statistic), float(low), float(high), cases or len(self.seen))

    def error(self, statistic: Statistic) -> Figure:
        """The same of an error that chance adds to; see ``around``."""
        value = self._of_all(statistic)
        return Figure(value, *around(value, self._sampled(statistic)), len(self.seen))

    def share(
        self, statistic: Statistic, cases: int | None = None, units: int | None = None
    ) -> Figure:
        """The same of a share; by Wilson's interval over ``units`` where no sample differs.

        For samples of cases that are all right are all right, too, however few they are. Left out,
        those count that tell by themselves: of a rate the patients who have such a case.
        """
        found = self.figure(statistic, cases)
        if np.isnan(found.value) or found.low < found.high:
            return found
        count = units or sum(not np.isnan(statistic(rows)) for rows in self.units)
        likely = proportion(round(found.value * count), count)
        return replace(found, low=likely.low, high=likely.high)

    def having(self, rows: BoolArray) -> int:
        """How many ``units`` have one of these rows, (cases,)."""
        return sum(bool(rows[members].any()) for members in self.units)

    def _of_all(self, statistic: Statistic) -> float:
        return statistic(np.arange(len(self.seen)))

    def _sampled(self, statistic: Statistic) -> NDArray[np.float64]:
        """Of those samples that tell."""
        values = np.array([statistic(rows) for rows in self.samples(SAMPLES)])
        return np.asarray(values[~np.isnan(values)])

    def means(self, named: Mapping[str, Values]) -> Mapping[str, Figure]:
        """Of what cases have a value for; a name that no case has one for is left out."""
        return {name: self.figure(self.of(values), n) for name, values, n in _known(named)}

    def shares(self, named: Mapping[str, Values]) -> Mapping[str, Figure]:
        """The same of yes and no."""
        return {name: self.share(self.of(values), n) for name, values, n in _known(named)}


def _known(named: Mapping[str, Values]) -> Iterator[tuple[str, Values, int]]:
    """Each with how many cases have a value."""
    for name, values in named.items():
        count = sum(value is not None for value in values)
        if count:
            yield name, values, count


def answered(cases: Cases) -> Mapping[str, Figure]:
    """Of models with targets: accuracy and calibration."""
    return {
        "Cases called right": cases.share(lambda rows: float(cases.right[rows].mean())),
        "Calibration error (ECE)": cases.error(lambda rows: calibration_gap(cases, rows)),
        "Brier score": cases.figure(lambda rows: brier(cases, rows)),
    }


def by_target(cases: Cases, column: int) -> Mapping[str, Figure]:
    """Of one target: areas under both curves, and rates at the operating point.

    Where no pair is ordered wrongly, an area is as sure as that many of the rarer kind are right.
    """
    truth, calls = cases.truth[:, column], cases.calls[:, column]
    said, few = cases.probabilities[:, column], min(cases.having(truth), cases.having(~truth))
    every = len(truth)
    return {
        "Area under ROC": cases.share(_of_both(truth, said, roc_auc_score), every, few),
        "Average precision": cases.share(
            _of_both(truth, said, average_precision_score), every, few
        ),
        "Sensitivity": cases.share(_rate(calls, truth), int(truth.sum())),
        "Specificity": cases.share(_rate(~calls, ~truth), int((~truth).sum())),
    }


def calibration_gap(cases: Cases, rows: Rows) -> float:
    """Expected calibration error over ten bins (Guo 2017)."""
    said, true = (_of_rows(cases, values, rows) for values in cases.stated)
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    sums = [np.bincount(bins, weights=values, minlength=BINS) for values in (said, true)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(said))


def brier(cases: Cases, rows: Rows) -> float:
    """Mean over cases of the squared distance from the truth, summed over targets (Brier 1950)."""
    return float(((cases.probabilities - cases.truth)[rows] ** 2).sum(axis=1).mean())


def _of_rows(cases: Cases, values: NDArray[np.generic], rows: Rows) -> NDArray[np.generic]:
    return values.reshape(len(cases.seen), -1)[rows].ravel()


def _of_both(
    truth: BoolArray, said: FloatArray, score: Callable[[BoolArray, FloatArray], float]
) -> Statistic:
    def statistic(rows: Rows) -> float:
        there = truth[rows]
        return float(score(there, said[rows])) if 0 < there.sum() < len(there) else np.nan

    return statistic


def _rate(hits: BoolArray, among: BoolArray) -> Statistic:
    return lambda rows: _mean(np.where(among[rows], hits[rows].astype(float), np.nan))


def _mean(values: NDArray[np.floating]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan

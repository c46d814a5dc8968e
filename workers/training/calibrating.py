"""Which calibration of a target holds best on cases that it was not fitted on.

As the manifest has it, then a temperature (Guo 2017), then a curve after that (Zadrozny and Elkan
2002): each is taken only where it clearly lowers the log loss of patients that were left out, and
does not raise their Brier score, which a few that are far off do not decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.outputs import Target
from explain.calibration import isotonic, probabilities
from workers.training.measures import shared_temperature, temperature

CURVED = 100
"""Cases from which on a curve is tried: of fewer it learns their chance as well."""
FOLDS = 5
CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1 that they have a log loss."""


@dataclass(frozen=True)
class Sample:
    """Answers of a model, and what is true; of one target, or of all that share a probability."""

    logits: NDArray[np.float64]
    """(cases, channels): before any temperature."""
    truth: BoolArray
    """(cases, channels)."""
    patients: NDArray[np.intp]
    """(cases,)."""
    shared: bool = False
    """Softmax: one channel is true; else there is one, a sigmoid."""

    def losses(self, targets: Sequence[Target]) -> NDArray[np.float64]:
        """(cases,): log loss."""
        said = np.clip(self.likely(targets), CERTAIN, 1 - CERTAIN)
        wrong = 0.0 if self.shared else ~self.truth * np.log(1 - said)
        return np.asarray(-(self.truth * np.log(said) + wrong).sum(axis=1))

    def errors(self, targets: Sequence[Target]) -> NDArray[np.float64]:
        """(cases,): squared distance from the truth (Brier 1950)."""
        return np.asarray(((self.likely(targets) - self.truth) ** 2).sum(axis=1))

    def of(self, rows: BoolArray) -> "Sample":
        """Some of the cases."""
        return Sample(self.logits[rows], self.truth[rows], self.patients[rows], self.shared)

    def folds(self) -> NDArray[np.intp]:
        """(cases,): patients shared out, so that each fold has of each kind of them."""
        numbers = np.unique(self.patients)
        kinds = [tuple(self.truth[self.patients == n].any(axis=0)) for n in numbers]
        order = sorted(range(len(numbers)), key=lambda n: kinds[n])
        fold = {numbers[n]: place % FOLDS for place, n in enumerate(order)}
        return np.array([fold[n] for n in self.patients], np.intp)

    def likely(self, targets: Sequence[Target]) -> NDArray[np.float64]:
        """(cases, channels): as these targets calibrate them."""
        return likely(targets, self.logits, shared=self.shared)


def likely(
    targets: Sequence[Target], logits: NDArray[np.float64], *, shared: bool
) -> NDArray[np.float64]:
    """(cases, channels), of logits of that shape: as the targets calibrate them."""

    def chance(values: FloatArray) -> FloatArray:
        return np.asarray(softmax(values, axis=-1) if shared else expit(values), np.float32)

    return np.asarray(probabilities(targets, logits.astype(np.float32), chance), np.float64)


Fit = Callable[[Sample], Sequence[Target]]


def fitted(targets: Sequence[Target], sample: Sample) -> Sequence[Target]:
    """The targets with the calibration that holds best; as they are where none holds better."""
    fits: list[Fit] = [lambda _: targets, lambda part: _tempered(targets, part)]
    if not sample.shared and len(sample.logits) >= CURVED:
        fits.append(lambda part: _curved(targets, part))
    left_out = [_left_out(fit, sample) for fit in fits]
    chosen = 0
    for place in range(1, len(fits)):
        loss, error = left_out[chosen] - left_out[place]
        if _clearly(loss, sample.patients) and error.mean() > 0:
            chosen = place
    return fits[chosen](sample)


def _tempered(targets: Sequence[Target], sample: Sample) -> Sequence[Target]:
    """One temperature, in place of what was there."""
    wanted = _smoothed(sample)
    found = (
        shared_temperature(sample.logits, wanted)
        if sample.shared
        else temperature(sample.logits[:, 0], wanted[:, 0])
    )
    changes = {"temperature": float(f"{found:.4g}"), "isotonic": ()}
    return [target.model_copy(update=changes) for target in targets]


def _curved(targets: Sequence[Target], sample: Sample) -> Sequence[Target]:
    tempered = _tempered(targets, sample)
    knots = isotonic(sample.likely(tempered)[:, 0], sample.truth[:, 0])
    return [target.model_copy(update={"isotonic": knots}) for target in tempered]


def _smoothed(sample: Sample) -> NDArray[np.float64]:
    """What is true, as surely as so many cases can tell (Platt 1999): few that are all right are
    no reason for certainty."""
    count = sample.truth.sum(axis=0)
    if sample.shared:
        there = (count + 1) / (count + 2)
        kept = np.where(sample.truth, there, 0).sum(axis=1, keepdims=True)
        others = (1 - kept) / (sample.truth.shape[1] - 1)
        return np.asarray(np.where(sample.truth, kept, others), np.float64)
    absent = len(sample.truth) - count
    likely_so = np.where(sample.truth, (count + 1) / (count + 2), 1 / (absent + 2))
    return np.asarray(likely_so, np.float64)


def _left_out(fit: Fit, sample: Sample) -> NDArray[np.float64]:
    """(2, cases): log loss and squared error of each, fitted to the patients of the other folds."""
    folds, found = sample.folds(), np.zeros((2, len(sample.logits)))
    for fold in np.unique(folds):
        rows = folds == fold
        part, targets = sample.of(rows), fit(sample.of(~rows))
        found[:, rows] = part.losses(targets), part.errors(targets)
    return found


def _clearly(fall: NDArray[np.float64], patients: NDArray[np.intp]) -> bool:
    """Whether a mean is above 0 by more than its standard error, over patients."""
    apart = np.bincount(patients, weights=fall - fall.mean())
    error = float(np.sqrt((apart**2).sum())) / len(fall)
    return bool(fall.mean() > error)

"""Probabilities of the choosing fold by a temperature that each case had no part in."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from dicom_node.domain.arrays import BoolArray
from workers.training.calibrating import CERTAIN
from workers.training.evaluation.seen import Seen
from workers.training.measures import shared_temperature


def cross_fitted(seen: Sequence[Seen]) -> list[Seen]:
    """The cases with probabilities by the temperature that the other half of the patients sets.

    A half that sets its own is calibrated too well. Each half has as many patients of each label;
    one patient alone stays as it is.
    """
    first = _first_half(seen)
    if first.all():
        return [*seen]
    said = np.stack([each.probabilities for each in seen]).astype(np.float64)
    true = np.stack([each.truth for each in seen]).astype(np.float64)
    logits, wanted = np.log(np.clip(_with_rest(said), CERTAIN, 1)), _with_rest(true)
    changed = np.zeros_like(logits)
    for half in (first, ~first):
        scale = shared_temperature(logits[~half], wanted[~half])
        changed[half] = softmax(logits[half] / scale, axis=1)
    kept = changed[:, :-1].astype(np.float32)
    return [replace(each, probabilities=row) for each, row in zip(seen, kept, strict=True)]


def _with_rest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cases, targets + 1): what is left to one."""
    return np.append(values, np.clip(1 - values.sum(axis=1, keepdims=True), 0, 1), axis=1)


def _first_half(seen: Sequence[Seen]) -> BoolArray:
    """(cases,): every other patient of those who show the same."""
    shown = {each.patient: each.truth.tolist() for each in seen}
    chosen = {*sorted(shown, key=lambda patient: shown[patient])[::2]}
    return np.array([each.patient in chosen for each in seen])

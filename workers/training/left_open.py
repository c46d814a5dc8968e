"""The answers that a probability leaves open: fitted, and measured on patients left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.outputs import Target
from dicom_node.domain.trust import Conformal
from explain.calibration import conformal, open_answers
from workers.training.measures import Figure, share_of

FEWEST = 10
"""Cases with, and as many without, that a calibration or a set of open answers is fitted on."""
COVERAGE = 0.9
"""Where the manifest states no other."""
DIGITS = 10_000
"""Thresholds are kept in steps of one in so many."""
COVERED = "Open answers hold the truth, {} {} ({} % stated)"
ONE = "Open answers are one answer, {}"


@dataclass(frozen=True)
class Opened:
    """The open answers of a target."""

    target: Target
    note: str
    figures: Mapping[str, Figure]


def left_open(
    old: Target,
    new: Target,
    said: NDArray[np.float64],
    truth: BoolArray,
    patients: NDArray[np.intp],
) -> Opened:
    """Of a target and its new calibration, on cases that neither was fitted on; all (cases,)."""
    coverage = old.conformal.coverage if old.conformal else COVERAGE
    least = max(FEWEST, ceil(round(1 / (1 - coverage), 6)))
    if not enough(truth, least):
        return _without(old, new, truth, least)
    plan = _fitted(said, truth, coverage)
    return Opened(
        new.model_copy(update={"conformal": plan}),
        f"{old.label}: at a coverage of {coverage:.0%} a probability leaves Present open from "
        f"{plan.present:g} on, and Absent up to {plan.absent:g}",
        _figures(old.label, coverage, said, truth, patients),
    )


def enough(truth: BoolArray, count: int = FEWEST) -> bool:
    """Whether there are so many cases with, and as many without."""
    return min(int(truth.sum()), int((~truth).sum())) >= count


def _without(old: Target, new: Target, truth: BoolArray, least: int) -> Opened:
    """What was there stays, unless the probability means something else now."""
    same = (old.temperature, old.isotonic) == (new.temperature, new.isotonic)
    note = (
        f"{old.label}: no open answers were fitted: the other half has {truth.sum()} cases with "
        f"it and {(~truth).sum()} without, and {least} of each are needed"
    )
    return Opened(new.model_copy(update={"conformal": old.conformal if same else None}), note, {})


def _fitted(said: NDArray[np.float64], truth: BoolArray, coverage: float) -> Conformal:
    """Rounded so that more stays open, never less."""
    plan = conformal(said, truth, coverage)
    low, high = floor(plan.present * DIGITS), ceil(plan.absent * DIGITS)
    return plan.model_copy(
        update={"present": max(0, low) / DIGITS, "absent": min(DIGITS, high) / DIGITS}
    )


def _figures(
    label: str,
    coverage: float,
    said: NDArray[np.float64],
    truth: BoolArray,
    patients: NDArray[np.intp],
) -> Mapping[str, Figure]:
    """Each patient by thresholds of the others: by its own it would always be covered."""
    each: list[tuple[Presence, ...]] = [()] * len(said)
    for patient in np.unique(patients):
        own = patients == patient
        plan = _fitted(said[~own], truth[~own], coverage)
        for row in np.flatnonzero(own):
            each[row] = open_answers(plan, float(said[row]))
    true = [Presence.PRESENT if there else Presence.ABSENT for there in truth]
    held = np.array([answer in answers for answer, answers in zip(true, each, strict=True)])
    stated = f"{100 * coverage:g}"
    alone = np.array([len(answers) == 1 for answers in each])
    return {
        COVERED.format(label, "present", stated): share_of(held[truth], patients[truth]),
        COVERED.format(label, "absent", stated): share_of(held[~truth], patients[~truth]),
        ONE.format(label): share_of(alone, patients),
    }

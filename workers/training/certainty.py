"""Probabilities that hold, and the answers that they leave open: fitted on cases of any model.

A calibration is fitted on one half of the patients and measured on the other, which also sets the
thresholds of the open answers (split conformal). No mask is needed: a case shows its labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Target
from explain.calibration import calibrated
from workers.training.calibrating import CERTAIN, Sample, fitted, likely
from workers.training.evaluation.figures import Cases, brier, calibration_gap
from workers.training.evaluation.seen import Seen
from workers.training.heard import Heard, patients_of
from workers.training.left_open import DIGITS, FEWEST, enough, left_open
from workers.training.measures import Figure, Measured

UNSEEN = "{}: patients on whom nothing was fitted"
IN_TURN = "{}: each patient by the thresholds of the others"
BEFORE = "{} before packaging"


@dataclass(frozen=True)
class Certain:
    """What the cases say of a model's probabilities."""

    manifest: ModelManifest
    """With the targets as they were fitted."""
    measured: Sequence[Measured]
    notes: Sequence[str]
    """A line for each thing that was fitted, or why it was not."""


@dataclass(frozen=True)
class Halves:
    """What a model said of all cases."""

    to_fit: Sequence[Heard]
    to_test: Sequence[Heard]
    shared: bool
    """The targets share one probability (softmax)."""


def certain(manifest: ModelManifest, heard: Halves, data: str) -> Certain:
    """Of a model with targets; ``data`` is what the cases are called.

    Calls stay as they are: the operating point moves along with the probability. Where answers
    share one it cannot; how many calls differ then is said.
    """
    old, new = manifest.targets, _calibrated(manifest.targets, heard)
    said, truth = _said(new, heard), _truth(heard.to_test)
    patients = patients_of(heard.to_test)
    opened = [
        left_open(before, after, said[:, n], truth[:, n], patients)
        for n, (before, after) in enumerate(zip(old, new, strict=True))
    ]
    fitted_to = with_targets(manifest, [each.target for each in opened])
    measured = [
        Measured(_figures(manifest, fitted_to, heard, said), UNSEEN.format(data)),
        Measured({n: f for o in opened for n, f in o.figures.items()}, IN_TURN.format(data)),
    ]
    told = [*_told(old, new, heard), *_other_calls(old, new, heard)]
    return Certain(
        manifest=fitted_to,
        measured=[each for each in measured if each.figures],
        notes=[*told, *(each.note for each in opened)],
    )


def with_targets(manifest: ModelManifest, targets: Sequence[Target]) -> ModelManifest:
    """The manifest with other targets in place of its own."""
    plan = manifest.classification or manifest.detection
    if plan is None:
        return manifest
    changed = plan.model_copy(update={"targets": tuple(targets)})
    outputs = tuple(changed if each is plan else each for each in manifest.outputs)
    return manifest.model_copy(update={"outputs": outputs})


def _calibrated(targets: Sequence[Target], heard: Halves) -> Sequence[Target]:
    if heard.shared:
        sample = _together(heard.to_fit)
        return fitted(targets, sample) if _kinds(sample) > 1 else targets
    each = [_alone(heard.to_fit, column) for column in range(len(targets))]
    return [_of_its_own(*pair) for pair in zip(targets, each, strict=True)]


def _of_its_own(target: Target, sample: Sample) -> Target:
    if not enough(sample.truth[:, 0]):
        return target
    (found,) = fitted([target], sample)
    return found.model_copy(update={"threshold": _moved(target, found)})


def _alone(heard: Sequence[Heard], column: int) -> Sample:
    return Sample(_logits(heard)[:, [column]], _truth(heard)[:, [column]], patients_of(heard))


def _together(heard: Sequence[Heard]) -> Sample:
    """The cases of which exactly one answer is true."""
    logits, truth = _logits(heard), _truth(heard)
    if logits.shape[1] > truth.shape[1]:
        truth = np.concatenate([truth, ~truth.any(axis=1, keepdims=True)], axis=1)
    return Sample(logits, truth, patients_of(heard), shared=True).of(truth.sum(axis=1) == 1)


def _kinds(sample: Sample) -> int:
    """Answers that enough cases have."""
    return int((sample.truth.sum(axis=0) >= FEWEST).sum())


def _logits(heard: Sequence[Heard]) -> NDArray[np.float64]:
    return np.stack([each.logits for each in heard])


def _truth(heard: Sequence[Heard]) -> BoolArray:
    return np.stack([each.truth for each in heard])


def _said(targets: Sequence[Target], heard: Halves) -> NDArray[np.float64]:
    """(cases, targets) of the half that nothing is fitted on."""
    every = likely(targets, _logits(heard.to_test), shared=heard.shared)
    return every[:, : len(targets)]


def _same(old: Target, new: Target) -> bool:
    return (old.temperature, old.isotonic) == (new.temperature, new.isotonic)


def _moved(old: Target, new: Target) -> float:
    """The operating point: the same logit, in the new probability, rounded down."""
    if _same(old, new):
        return old.threshold
    stated = old.threshold
    if old.isotonic:
        before, after = zip(*old.isotonic, strict=True)
        stated = float(np.interp(stated, after, before))
    at = logit(np.clip(stated, CERTAIN, 1 - CERTAIN)) * old.temperature
    said = expit(at / new.temperature)
    if new.isotonic:
        said = calibrated(new.isotonic, np.array([said]))[0]
    return max(1, floor(round(float(said) * DIGITS, 3))) / DIGITS


def _told(old: Sequence[Target], new: Sequence[Target], heard: Halves) -> Iterator[str]:
    if heard.shared:
        count = _kinds(_together(heard.to_fit))
        why = "" if count > 1 else f"fewer than two answers have {FEWEST} cases to fit on"
        yield _change(old[0], new[0], "All answers together", why)
        return
    truth = _truth(heard.to_fit)
    for column, (before, after) in enumerate(zip(old, new, strict=True)):
        there = truth[:, column]
        why = (
            f"the half to fit on has {there.sum()} cases with it and {(~there).sum()} without, and "
            f"{FEWEST} of each are needed"
        )
        yield _change(before, after, before.label, "" if enough(there) else why)


def _change(old: Target, new: Target, name: str, why: str) -> str:
    if _same(old, new):
        why = why or "nothing holds clearly better on patients that are left out"
        return f"{name}: the calibration stays as it was: {why}"
    curve = f", then by a curve of {len(new.isotonic)} points" if new.isotonic else ""
    moved = f"; the operating point {old.threshold:g} became {new.threshold:g}"
    return (
        f"{name}: calibrated by a temperature of {new.temperature:g} (it was {old.temperature:g})"
        f"{curve}{'' if old.threshold == new.threshold else moved}"
    )


def _other_calls(old: Sequence[Target], new: Sequence[Target], heard: Halves) -> Iterator[str]:
    before, after = (_calls(targets, _said(targets, heard), heard) for targets in (old, new))
    count = int((before != after).any(axis=1).sum())
    if count:
        yield f"{count} of {len(before)} cases are called otherwise than before: look at threshold"


def _calls(targets: Sequence[Target], said: NDArray[np.float64], heard: Halves) -> BoolArray:
    """(cases, targets): present, from the probability of each case."""
    present = said >= np.array([target.threshold for target in targets]) - CERTAIN
    if not heard.shared:
        return present
    rest = 1 - said.sum(axis=1, keepdims=True)
    return np.asarray(present & (said >= np.maximum(said.max(axis=1, keepdims=True), rest)))


def _figures(
    old: ModelManifest, new: ModelManifest, heard: Halves, said: NDArray[np.float64]
) -> Mapping[str, Figure]:
    """Calibration of the half that nothing was fitted on; of both where it changed."""
    if not any(enough(column) for column in _truth(heard.to_test).T):
        return {}
    calls = _calls(new.targets, said, heard)
    after = [_seen(h, *each) for h, *each in zip(heard.to_test, said, calls, strict=True)]
    found = dict(_errors(Cases(after, new)))
    if not all(map(_same, old.targets, new.targets)):
        before = [_seen(each, each.probabilities, each.called) for each in heard.to_test]
        errors = _errors(Cases(before, old))
        found |= {BEFORE.format(name): figure for name, figure in errors}
    return found


def _errors(cases: Cases) -> Iterator[tuple[str, Figure]]:
    yield "Calibration error (ECE)", cases.error(lambda rows: calibration_gap(cases, rows))
    yield "Brier score", cases.figure(lambda rows: brier(cases, rows))


def _seen(heard: Heard, probabilities: NDArray[np.floating], called: BoolArray) -> Seen:
    return Seen(
        name="",
        patient=heard.patient,
        truth=heard.truth,
        called=called,
        probabilities=np.asarray(probabilities, np.float32),
        seconds=0.0,
        frames=1,
        facts={},
    )

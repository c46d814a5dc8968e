"""What a model says of each case before its calibration, beside what is true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.prediction import Prediction
from workers.findings import Case
from workers.golden import heads
from workers.items import Items
from workers.model import Model
from workers.prediction import answer, predict
from workers.preprocess import prepare
from workers.steps.prepared import Prepared
from workers.training.dataset import Example
from workers.training.evaluate import PROVENANCE
from workers.training.evaluation.cases import reported
from workers.training.masked import Cases, patient_of
from workers.training.trying import named


@dataclass(frozen=True, slots=True)
class Heard:
    """One case."""

    patient: str
    logits: NDArray[np.float64]
    """(channels,) of what decides: its slice, or box; of exclusive targets all of one slice, with
    the channel after those of the targets."""
    truth: BoolArray
    """(targets,)."""
    called: BoolArray
    """(targets,): reported as present, as the manifest calibrates them."""
    probabilities: FloatArray
    """(targets,): as reported, the same."""


def hear(model: Model, cases: Cases, progress: Callable[[float], None]) -> list[Heard]:
    """Ask about each case. ``model`` has targets; its logits are as they were before calibration.

    Raises what reading a case raises.
    """
    every = cases.images(model.manifest.input, progress)
    return [_heard(model, example, images) for example, images in every]


def _heard(model: Model, example: Example, images: SourceImages) -> Heard:
    manifest = model.manifest
    prepared = prepare(images, manifest)
    prediction, _ = predict(model, prepared)
    said = answer(Case(manifest, PROVENANCE, images, prediction))
    called, likely = reported(model, said)
    plan = manifest.classification
    exclusive = plan is not None and plan.exclusive
    return Heard(
        patient=patient_of(example),
        logits=_together(model, prepared, prediction, called, likely)
        if exclusive
        else _each(prediction, likely),
        truth=named([target.label for target in manifest.targets], example.labels),
        called=called,
        probabilities=likely,
    )


def _each(prediction: Prediction, likely: FloatArray) -> NDArray[np.float64]:
    """(targets,): the highest logit of the frames whose probability is the one reported."""
    decide = prediction.probabilities == likely
    return np.asarray(np.where(decide, prediction.logits, -np.inf).max(axis=0), np.float64)


def _together(
    model: Model,
    prepared: Prepared,
    prediction: Prediction,
    called: BoolArray,
    likely: FloatArray,
) -> NDArray[np.float64]:
    """(channels,): of the frame that decides about the likeliest target, present ones first."""
    best = int(np.where(called, likely + 1, likely).argmax())
    frame = int((prediction.probabilities[:, best] == likely[best]).argmax())
    logits = prediction.logits[frame]
    plan = model.manifest.classification
    if plan is not None and plan.rest is not None:
        items = Items.of(model.manifest.input, prepared)
        whole = items.spread(heads(model, prepared.source)[plan.kind], by_plane=False)
        logits = whole[prepared.nearest[frame]]
    return np.asarray(logits, np.float64)


def patients_of(heard: Sequence[Heard]) -> NDArray[np.intp]:
    """(cases,): a number for each patient."""
    numbers = {patient: n for n, patient in enumerate(dict.fromkeys(h.patient for h in heard))}
    return np.array([numbers[each.patient] for each in heard], np.intp)

"""What a model says of a series, and why: all its items, of one pass, on the source grid."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.prediction import Prediction
from explain.explainer import Attribution, Inputs
from workers.findings import Answers, Case
from workers.findings import answer as answer_targets
from workers.items import Items
from workers.model import Model
from workers.outputs import classification, detection, image, regression, segmentation
from workers.outputs.said import Said
from workers.progress import Progress, silent
from workers.steps.prepared import Prepared


class Kind(NamedTuple):
    """What a kind of output means; the plan is the output as the manifest has it."""

    read: Callable[[Prediction, Any, Said], Prediction]
    answer: Callable[[Case, Any], Answers]


KINDS: Mapping[str, Kind] = {
    "classification": Kind(classification.read, lambda case, _: answer_targets(case)),
    "segmentation": Kind(segmentation.read, segmentation.answer),
    "regression": Kind(regression.read, regression.answer),
    "detection": Kind(detection.read, detection.answer),
    "image": Kind(image.read, image.answer),
}


def predict(
    model: Model, prepared: Prepared, progress: Progress = silent
) -> tuple[Prediction, Mapping[str, SaliencyMap]]:
    """What the model says of all frames, and why: of one pass, on the source grid.

    Masks are 0 beyond the model's grid. Maps are by the label of a target or quantity; there are
    none without one, and none of a method that needs many passes.
    """
    items = Items.of(model.manifest.input, prepared)
    heads: dict[str, list[FloatArray]] = {}
    attributions: list[Attribution] = []
    features: list[FloatArray] = []
    for part, batch in _batches(model, prepared, items):
        output = model.predict(batch)
        for name, values in output.heads.items():
            heads.setdefault(name, []).append(values)
        if output.attribution is not None:
            attributions.append(output.attribution)
        if output.features is not None:
            features.append(output.features)
        progress("predicting", part)
    said = Said(model, prepared, items, {name: np.concatenate(v) for name, v in heads.items()})
    saliency = _saliency(said, attributions)
    prediction = _with_evidence(_read(said), saliency)
    if features:
        together = items.spread(np.concatenate(features), by_plane=False)
        prediction = replace(prediction, features=together)
    return prediction, saliency


def answer(case: Case) -> Answers:
    """What each output answers, in the order of the manifest."""
    each = [KINDS[plan.kind].answer(case, plan) for plan in case.manifest.outputs]
    return Answers(
        segments=tuple(s for a in each for s in a.segments),
        findings=tuple(f for a in each for f in a.findings),
        notes=tuple(n for a in each for n in a.notes),
        estimates=tuple(e for a in each for e in a.estimates),
    )


def _read(said: Said) -> Prediction:
    """Each output adds what it means to a prediction that says nothing."""
    shape = said.prepared.source.pixels.shape
    nothing = np.zeros((shape[0], 0), np.float32)
    prediction = Prediction(
        nothing, nothing, np.zeros((*shape, 0), np.float32), together=said.items.together
    )
    for plan in said.model.manifest.outputs:
        prediction = KINDS[plan.kind].read(prediction, plan, said)
    return prediction


def _batches(model: Model, prepared: Prepared, items: Items) -> Iterator[tuple[float, Inputs]]:
    """Batches of items, each with the part of the work that is done after it."""
    size, count = model.manifest.input.batch, len(items.frames)
    for start in range(0, count, size):
        end = min(start + size, count)
        yield end / count, items.inputs(prepared.values, slice(start, end))


def _saliency(said: Said, each: Sequence[Attribution]) -> Mapping[str, SaliencyMap]:
    """By label, of the attributions of each batch."""
    explainer, plan = said.model.explainer(), said.model.manifest.explained
    if explainer is None or plan is None or not each:
        return {}
    cells = _cells(said, [attribution.maps for attribution in each])
    values = np.moveaxis(said.prepared.on_source(cells), -1, 0)
    signed = np.moveaxis(_cells(said, [attribution.both for attribution in each]), -1, 0)
    scale = said.model.manifest.explanation.full_scale
    return {
        label: SaliencyMap(
            label, explainer.method, explainer.layer, values[n], scale, unit, signed=signed[n]
        )
        for n, (label, unit) in enumerate(zip(plan.labels, plan.units, strict=True))
    }


def _cells(said: Said, maps: Sequence[FloatArray]) -> FloatArray:
    """(frames, rows, columns, targets) of (items, targets, [planes,] rows, columns)."""
    together = np.concatenate(maps)
    by_plane = together.ndim == PLANES_AXES
    return said.items.spread(np.moveaxis(together, 1, -1), by_plane=by_plane)


PLANES_AXES = 5
"""Of maps with an axis of planes: blocks of slices, sequences, views."""


def _with_evidence(prediction: Prediction, maps: Mapping[str, SaliencyMap]) -> Prediction:
    """Of frames with one answer, how much of each map lies in each of them."""
    if not prediction.together or not maps:
        return prediction
    sums = [saliency.values.sum(axis=(1, 2)) for saliency in maps.values()]
    return replace(prediction, evidence=np.stack(sums, axis=-1))

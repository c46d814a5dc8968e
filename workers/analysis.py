"""The pipeline: one series and one model in, one Analysis out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dicom_node import faults
from dicom_node.domain.analysis import (
    Analysis,
    Estimate,
    Finding,
    FloatArray,
    Provenance,
    SaliencyMap,
    SourceImages,
)
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.prediction import Prediction
from workers.asked import Asked
from workers.findings import Answers, Case, explained, shown
from workers.model import Model
from workers.prediction import answer, predict
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.steps.prepared import Prepared
from workers.trust import judged, unfamiliar
from workers.volume import ImageFile, read_series, read_views


def analyse(
    files: Sequence[ImageFile],
    model: Model,
    provenance: Provenance,
    selection: Sequence[SeriesChoice] = (),
    progress: Progress = silent,
) -> Analysis:
    """Read one series (files in any order) and analyse it.

    Raises what ``read_series``, ``prepare`` and ``Model.predict`` raise.
    """
    read = read_views if model.manifest.input.unit == "views" else read_series
    return analyse_images(read(files, progress), model, provenance, selection, progress)


def analyse_images(
    images: SourceImages,
    model: Model,
    provenance: Provenance,
    selection: Sequence[SeriesChoice] = (),
    progress: Progress = silent,
) -> Analysis:
    """Volume -> preprocess -> predict -> explain -> findings."""
    started = time.monotonic()
    prepared = prepare(images, model.manifest)
    prediction, maps = predict(model, prepared, progress)
    answers = answer(Case(model.manifest, provenance, images, prediction))
    faults.point("worker.analysed")
    asked = Asked(model, prepared, prediction)
    return Analysis(
        manifest=model.manifest,
        provenance=provenance,
        images=images,
        prediction=prediction,
        segments=answers.segments,
        findings=judged(_explained(answers, maps, images, asked), asked),
        estimates=_with_maps(answers, maps, images, model),
        selection=tuple(selection),
        notes=(*_unread(prepared), *unfamiliar(asked), *answers.notes),
        facts={**model.versions, "seconds": f"{time.monotonic() - started:.1f}"},
    )


def _explained(
    answers: Answers, maps: Mapping[str, SaliencyMap], images: SourceImages, asked: Asked
) -> tuple[Finding, ...]:
    model = asked.model
    if model.explainer() is None:
        return tuple(_with_shares(each, asked.prepared, model) for each in answers.findings)
    level = model.manifest.explanation.region_level
    return tuple(
        explained(finding, _saliency(finding, maps, asked), images, level)
        for finding in answers.findings
    )


def _saliency(finding: Finding, maps: Mapping[str, SaliencyMap], asked: Asked) -> SaliencyMap:
    """Of the target in all frames; of a box, or where that costs many passes, a map of its own."""
    whole = maps.get(finding.target.label)
    return whole if whole is not None and finding.box is None else _own_map(finding, asked)


def _with_shares(finding: Finding, prepared: Prepared, model: Model) -> Finding:
    """What features added to the answer of the key slice, of a model that reads features."""
    item = prepared.values[prepared.nearest[finding.frame]]
    column = model.manifest.targets.index(finding.target)
    return replace(finding, shares=model.shares(item, column))


def _with_maps(
    answers: Answers, maps: Mapping[str, SaliencyMap], images: SourceImages, model: Model
) -> tuple[Estimate, ...]:
    level = model.manifest.explanation.region_level
    return tuple(
        shown(estimate, maps[estimate.label], images, level) if estimate.label in maps else estimate
        for estimate in answers.estimates
    )


def _own_map(finding: Finding, asked: Asked) -> SaliencyMap:
    """Of the key slice alone; 0 in the other frames."""
    explainer, plan = asked.model.explainer(), asked.model.manifest
    if explainer is None:
        raise ValueError(f"{plan.id} is not explained")
    prepared, frame = asked.prepared, slice(finding.frame, finding.frame + 1)
    column = plan.targets.index(finding.target)
    where = _box(finding, asked.prediction)
    attribution = explainer.explain(prepared.values[frame], [column], where)
    values = np.zeros((len(prepared.values), *prepared.grid.outer), np.float32)
    values[frame] = prepared.on_source(np.moveaxis(attribution.maps, 1, -1))[..., 0]
    scale = plan.explanation.full_scale
    return SaliencyMap(finding.target.label, explainer.method, explainer.layer, values, scale)


def _box(finding: Finding, prediction: Prediction) -> FloatArray | None:
    """(1, 1, boxes): 1 for the finding's own; none for a finding that is no box."""
    boxes = prediction.boxes
    if finding.box is None or boxes is None:
        return None
    each = len(boxes.places) // len(prediction.logits)
    where = np.zeros((1, 1, each), np.float32)
    where[0, 0, boxes.places.index(finding.box) % each] = 1
    return where


def _unread(prepared: Prepared) -> list[str]:
    """A note where the images reach beyond what the model was shown."""
    whole = prepared.volume
    outer = np.array([whole.outer[axis] for axis in whole.axes])
    inner = np.multiply(np.abs(whole.step), whole.inner)
    if (inner >= outer - 1).all():
        return []
    share = float(np.prod(np.minimum(1, inner / outer)))
    return [
        f"The model read the middle {share:.0%} of each image; what lies outside was not searched."
    ]

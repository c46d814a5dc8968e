"""The pipeline: one series and one model in, one Analysis out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dicom_node import faults
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Answer, Finding
from dicom_node.domain.images import SourceImages
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.provenance import Provenance
from explain.explainer import Attribution
from workers.asked import Asked
from workers.findings import Case, Explained, explained
from workers.model import Model
from workers.prediction import answer, predict
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.reader import ImageFile
from workers.steps.prepared import Prepared
from workers.trust import judged, unfamiliar
from workers.volume import read_input


def analyse(
    files: Sequence[ImageFile],
    model: Model,
    provenance: Provenance,
    selection: Sequence[SeriesChoice] = (),
    progress: Progress = silent,
) -> Analysis:
    """Read one series, or the views of a study (files in any order), and analyse it.

    Raises what ``read_input``, ``prepare`` and ``Model.predict`` raise.
    """
    images = read_input(files, model.manifest.input, progress)
    return analyse_images(images, model, provenance, selection, progress)


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
    findings = [_with_shares(finding, asked) for finding in answers.findings]
    return Analysis(
        manifest=model.manifest,
        provenance=provenance,
        images=images,
        prediction=prediction,
        segments=answers.segments,
        findings=judged(_explained(findings, maps, asked), asked),
        estimates=judged(_explained(answers.estimates, maps, asked), asked),
        selection=tuple(selection),
        notes=(*_unread(prepared), *answers.notes),
        unfamiliar=unfamiliar(asked),
        facts={**model.versions, "seconds": f"{time.monotonic() - started:.1f}"},
    )


def _explained(
    answers: Sequence[Explained], maps: Mapping[str, SaliencyMap], asked: Asked
) -> list[Explained]:
    """With a map, those that the manifest's method explains."""
    images, level = asked.prepared.source, asked.model.manifest.explanation.region_level
    return [
        explained(each, saliency_of(each, maps, asked), images, level)
        if asked.explains(each)
        else each
        for each in answers
    ]


def saliency_of(answer: Answer, maps: Mapping[str, SaliencyMap], asked: Asked) -> SaliencyMap:
    """Of the target in all frames; of a box, or where that costs many passes, a map of its own."""
    whole = maps.get(answer.label)
    return whole if whole is not None and answer.box is None else _own_map(answer, asked)


def _with_shares(finding: Finding, asked: Asked) -> Finding:
    """What features added to the answer of the key slice, of a model that reads features."""
    prepared, model = asked.prepared, asked.model
    item = prepared.values[prepared.nearest[finding.frame]]
    column = model.manifest.targets.index(finding.target)
    return replace(finding, shares=model.shares(item, column))


def _own_map(answer: Answer, asked: Asked) -> SaliencyMap:
    """Of the key slice alone; 0 in the other frames."""
    explainer, plan, manifest = asked.model.explainer(), asked.plan, asked.model.manifest
    if explainer is None:
        raise ValueError(f"{manifest.id} is not explained")
    prepared, frame = asked.prepared, slice(answer.frame, answer.frame + 1)
    column = plan.labels.index(answer.label)
    attribution = explainer.explain(prepared.values[frame], [column], asked.where(answer))
    values = np.zeros((len(prepared.values), *prepared.grid.outer), np.float32)
    values[frame] = prepared.on_source(np.moveaxis(attribution.maps, 1, -1))[..., 0]
    both = attribution.both[:, 0]
    signed = np.zeros((len(prepared.values), *both.shape[1:]), np.float32)
    signed[frame] = both
    return SaliencyMap(
        answer.label,
        explainer.method,
        explainer.layer,
        values,
        manifest.explanation.full_scale,
        plan.units[column],
        _incomplete(attribution),
        signed,
    )


def _incomplete(attribution: Attribution) -> float | None:
    """Of the one map; none of methods that do not say what a map adds up to."""
    said = attribution.incomplete
    return None if said is None or np.isnan(said[0, 0]) else float(said[0, 0])


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

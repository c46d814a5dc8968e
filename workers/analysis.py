"""The pipeline: one series and one model in, one Analysis out."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dicom_node import faults
from dicom_node.domain.analysis import (
    Analysis,
    Finding,
    FloatArray,
    Prediction,
    Provenance,
    SaliencyMap,
    SourceImages,
)
from dicom_node.domain.job import SeriesChoice
from explain.projection import Grid
from workers.findings import Answers, Case, answer, explained
from workers.model import Model
from workers.preprocess import Prepared, prepare
from workers.progress import Progress, silent
from workers.volume import ImageFile, read_series


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
    return analyse_images(read_series(files, progress), model, provenance, selection, progress)


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
    return Analysis(
        manifest=model.manifest,
        provenance=provenance,
        images=images,
        prediction=prediction,
        segments=answers.segments,
        findings=_explained(answers, maps, prepared, images, model),
        selection=tuple(selection),
        notes=(*_unread(prepared), *answers.notes),
        facts={**model.versions, "seconds": f"{time.monotonic() - started:.1f}"},
    )


def predict(
    model: Model, prepared: Prepared, progress: Progress = silent
) -> tuple[Prediction, Mapping[str, SaliencyMap]]:
    """What the model says of all frames, and why: of one pass, on the source grid.

    Masks are 0 beyond the model's grid. Maps are by the target's label; there are none without a
    classification, and none of a method that needs many passes.
    """
    logits, masks, maps = [], [], []
    for part, batch in _batches(model, prepared):
        output = model.predict(batch)
        logits.append(output.logits)
        masks.append(_on_source(model.mask_probabilities(output.mask_logits), prepared))
        if output.attribution is not None:
            maps.append(_on_source(np.moveaxis(output.attribution.maps, 1, -1), prepared))
        progress("predicting", part)
    together = np.concatenate(logits)
    prediction = Prediction(together, model.probabilities(together), np.concatenate(masks))
    return prediction, _saliency(model, maps)


def _saliency(model: Model, maps: Sequence[FloatArray]) -> Mapping[str, SaliencyMap]:
    """By target, of the maps of each batch, (frames, rows, columns, targets)."""
    explainer, plan = model.explainer(), model.manifest.classification
    if explainer is None or plan is None or not maps:
        return {}
    values = np.moveaxis(np.concatenate(maps), -1, 0)
    scale = model.manifest.explanation.full_scale
    return {
        target.label: SaliencyMap(target.label, explainer.method, explainer.layer, each, scale)
        for target, each in zip(plan.targets, values, strict=True)
    }


def _batches(model: Model, prepared: Prepared) -> Iterator[tuple[float, FloatArray]]:
    """Batches of frames, each with the part of the work that is done after it."""
    size, count = model.manifest.input.batch, len(prepared.values)
    for start in range(0, count, size):
        end = min(start + size, count)
        yield end / count, prepared.values[start:end]


def _on_source(values: FloatArray, prepared: Prepared) -> FloatArray:
    """(frames, rows, columns, channels) of cells that share out the model's input."""
    rows, columns = values.shape[1:3]
    cells = Grid.covering(prepared.grid.inner, (rows, columns))
    return prepared.grid.carrying(cells).project(values)


def _explained(
    answers: Answers,
    maps: Mapping[str, SaliencyMap],
    prepared: Prepared,
    images: SourceImages,
    model: Model,
) -> tuple[Finding, ...]:
    level = model.manifest.explanation.region_level
    return tuple(
        explained(
            finding,
            maps.get(finding.target.label) or _key_map(finding, prepared, model),
            images,
            level,
        )
        for finding in answers.findings
    )


def _key_map(finding: Finding, prepared: Prepared, model: Model) -> SaliencyMap:
    """Of the key slice alone, by a method that costs many passes; 0 in the other frames."""
    explainer, plan = model.explainer(), model.manifest.classification
    if explainer is None or plan is None:
        raise ValueError(f"{model.manifest.id} has no classification head to explain")
    frame = slice(finding.frame, finding.frame + 1)
    attribution = explainer.explain(prepared.values[frame], [plan.targets.index(finding.target)])
    values = np.zeros((len(prepared.values), *prepared.grid.outer), np.float32)
    values[frame] = _on_source(np.moveaxis(attribution.maps, 1, -1), prepared)[..., 0]
    return SaliencyMap(
        finding.target.label,
        explainer.method,
        explainer.layer,
        values,
        model.manifest.explanation.full_scale,
    )


def _unread(prepared: Prepared) -> list[str]:
    """A note where the images reach beyond what the model was shown."""
    grid = prepared.grid
    inner = np.multiply(np.abs(grid.step), grid.inner)
    if (inner >= np.array(grid.outer) - 1).all():
        return []
    share = float(np.prod(np.minimum(1, inner / grid.outer)))
    return [
        f"The model read the middle {share:.0%} of each image; what lies outside was not searched."
    ]

"""What a bundle says of each case of a data set, beside what is true."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from explain.projection import Grid
from workers.arrays import Arrays
from workers.model import Model
from workers.prediction import predict
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.training.dataset import Example
from workers.training.measures import dice
from workers.training.reading import read_images, read_mask

AVERAGE_MASK = "average_mask"
"""In ``reference.npz``: where the training masks lie, (rows, columns) of the model's input."""
LIKELY = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a place that was named lies in the mask: of the heat map, and of two baselines that
    have not looked at the image."""

    peak: bool
    """The map's hottest pixel, on the frame where the answer is likeliest."""
    centre: bool
    """The image's centre."""
    average: bool | None
    """The peak of the average training mask; none where the bundle brings none along."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One case."""

    name: str
    patient: str | None
    """Who it is of, for cases of one patient are alike; none where the data does not say."""
    truth: BoolArray
    """(targets,)."""
    probabilities: FloatArray
    """(targets,): of its likeliest frame."""
    logits: FloatArray
    """(targets,): of that frame."""
    seconds: float
    frames: int
    facts: Mapping[str, str]
    place: Place | None = None
    """None where there is no mask, or no map."""
    dice: float | None = None
    """Of all segments together; none where there is no mask, or no such output."""


def look(
    model: Model,
    examples: Sequence[Example],
    *,
    reference: Arrays | None = None,
    spacing_mm: float | None = None,
    progress: Progress = silent,
) -> Iterator[Seen]:
    """Ask the model about each case; see ``read_images`` for ``spacing_mm``.

    Raises ConfigurationError for labels that the manifest does not know, before any case is read.
    """
    _refuse_unknown(model.manifest, examples)
    average = (reference or {}).get(AVERAGE_MASK)
    for done, example in enumerate(examples, 1):
        yield _look(model, example, average, spacing_mm)
        progress("measuring", done / len(examples))


def _refuse_unknown(manifest: ModelManifest, examples: Sequence[Example]) -> None:
    known = {target.label.casefold() for target in manifest.targets}
    found = {label.casefold() for example in examples for label in example.labels}
    if found - known:
        raise ConfigurationError(
            f"the data has the labels {', '.join(sorted(found))}, and {manifest.id} knows "
            f"{', '.join(sorted(known))}: rename them in the table"
        )


def _look(
    model: Model, example: Example, average: FloatArray | None, spacing_mm: float | None
) -> Seen:
    images = read_images(example, spacing_mm)
    mask = read_mask(example, images)
    started = time.perf_counter()
    prepared = prepare(images, model.manifest)
    prediction, maps = predict(model, prepared)
    seconds = time.perf_counter() - started
    labels = {label.casefold() for label in example.labels}
    targets = [target.label for target in model.manifest.targets]
    frame, column = np.unravel_index(
        prediction.probabilities.argmax(), prediction.probabilities.shape
    )
    shown = mask is not None and mask[frame].any()
    return Seen(
        name=example.name,
        patient=example.patient,
        truth=np.array([label.casefold() in labels for label in targets]),
        probabilities=prediction.probabilities.max(axis=0),
        logits=prediction.logits[prediction.probabilities.argmax(axis=0), range(len(targets))],
        seconds=seconds,
        frames=len(images.frames),
        facts=_facts(example, images, mask),
        place=_place(maps.get(targets[column]), int(frame), mask, _on(prepared.grid, average))
        if mask is not None and shown
        else None,
        dice=_dice(model, prediction.masks, mask),
    )


def _place(
    saliency: SaliencyMap | None, frame: int, mask: BoolArray, average: FloatArray | None
) -> Place | None:
    if saliency is None:
        return None
    rows, columns = mask.shape[1:]
    return Place(
        peak=bool(saliency.values[frame].max() > 0 and _hits(saliency.values[frame], mask[frame])),
        centre=bool(mask[frame, rows // 2, columns // 2]),
        average=None if average is None else _hits(average, mask[frame]),
    )


def _hits(values: FloatArray, mask: BoolArray) -> bool:
    return bool(mask.flat[values.argmax()])


def _on(grid: Grid, average: FloatArray | None) -> FloatArray | None:
    """The average mask on the source's pixels."""
    return None if average is None else grid.project(average[None])[0]


def _dice(model: Model, masks: FloatArray, truth: BoolArray | None) -> float | None:
    plan = model.manifest.segmentation
    if plan is None or truth is None:
        return None
    located = {target.located_by for target in model.manifest.targets} - {None}
    drawn = np.zeros(truth.shape, bool)
    for channel, segment in enumerate(plan.segments):
        if segment.label in located or not located:
            drawn |= masks[..., channel] >= segment.threshold
    return dice(truth, drawn)


def _facts(example: Example, images: SourceImages, mask: BoolArray | None) -> Mapping[str, str]:
    """What subgroups are made of; the area of the finding in its largest slice among them."""
    facts = dict(example.facts or {})
    if mask is not None and mask.any():
        _, row_mm, column_mm = images.spacing_mm
        area = mask.sum(axis=(1, 2)).max() * row_mm * column_mm
        facts["largest_area"] = f"{area:.1f}"
    return facts

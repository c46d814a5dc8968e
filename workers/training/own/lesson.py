"""Cases -> what the network is given, and what it should say: through the steps that serve.

Each slice is an item. What is not known of one is nan, and no loss counts it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Classification
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.dataset import Example
from workers.training.evaluation.outlines import measured
from workers.training.evaluation.quantities import quantities, truth
from workers.training.reading import read_case, read_parts
from workers.training.trying import named

Values = NDArray[np.floating]
Answers = Mapping[str, Values]
"""By the kind of the output, (items, ...); nan where it is not known."""
HALF = 0.5
"""A pixel of which so much is in a mask is in it."""


@dataclass(frozen=True)
class Lesson:
    """All items of some cases."""

    images: FloatArray
    """(items, rows, columns, channels), after the manifest's steps."""
    answers: Answers

    @property
    def rarity(self) -> FloatArray:
        """(items,): the chance of each to be drawn; that of rare answers by its root."""
        there = [
            answers.reshape(len(self.images), -1, answers.shape[-1]).max(axis=1) >= HALF
            for kind, answers in self.answers.items()
            if kind != "regression"
        ]
        if not there:
            return np.full(len(self.images), 1 / len(self.images))
        _, which, counts = np.unique(
            np.concatenate(there, axis=1), axis=0, return_inverse=True, return_counts=True
        )
        chance = 1 / np.sqrt(counts[which.ravel()])
        return np.asarray(chance / chance.sum())


def collect(
    examples: Sequence[Example],
    manifest: ModelManifest,
    spacing_mm: float | None,
    progress: Progress,
    what: str,
) -> Lesson:
    """The items of all cases, in their order; those of which nothing is known are left out.

    Raises what reading a case raises, and ConfigurationError where nobody can say what a slice of a
    case shows.
    """
    images, answers = [], []
    for done, example in enumerate(examples, 1):
        values, said = _read(example, manifest, spacing_mm)
        known = np.any([_known(each) for each in said.values()], axis=0)
        images.append(values[known])
        answers.append({kind: each[known] for kind, each in said.items()})
        progress(f"reading, {what}", done / len(examples))
    if not sum(map(len, images)):
        raise ConfigurationError(
            f"of no slice {what} the table says what the manifest's outputs should answer: fill "
            "its columns, or let the recipe take other folds"
        )
    return Lesson(
        np.concatenate(images),
        {kind: np.concatenate([each[kind] for each in answers]) for kind in answers[0]},
    )


def read_through(
    examples: Sequence[Example],
    manifest: ModelManifest,
    spacing_mm: float | None,
    progress: Progress,
) -> None:
    """Meet before a long training what could not be measured after it. Raises as ``collect``."""
    for done, example in enumerate(examples, 1):
        images = read_case(example, manifest.input, spacing_mm)
        prepare(images, manifest)
        read_parts(example, images, len(measured(manifest)) if manifest.segmentation else 1)
        progress("reading, to test on", done / len(examples))


def refuse_one_sided(lesson: Lesson, manifest: ModelManifest) -> None:
    """Raise ConfigurationError for a target that every slice shows, or none."""
    plan = manifest.classification
    for column, target in enumerate(plan.targets if plan else ()):
        shown = lesson.answers["classification"][:, column]
        if len(np.unique(shown[~np.isnan(shown)])) < 2:
            raise ConfigurationError(
                f"of {len(shown)} slices to train on, {int(np.nansum(shown))} show {target.label}: "
                "give the network slices that show it and slices that do not"
            )


def _read(
    example: Example, manifest: ModelManifest, spacing_mm: float | None
) -> tuple[FloatArray, dict[str, Values]]:
    images = read_case(example, manifest.input, spacing_mm)
    prepared = prepare(images, manifest)
    count = len(measured(manifest)) if manifest.segmentation else 1
    parts = read_parts(example, images, count)
    masks = None
    if parts is not None:
        masks = np.stack([prepared.grid.sample(part.astype(np.float32)) for part in parts], -1)
    return prepared.values, dict(_answers(example, manifest, prepared.values.shape[:3], masks))


def _answers(
    example: Example,
    manifest: ModelManifest,
    shape: tuple[int, int, int],
    masks: FloatArray | None,
) -> Iterator[tuple[str, Values]]:
    """``masks`` is (frames, rows, columns, parts) on the model's grid, 0 to 1."""
    plan = manifest.classification
    if plan is not None:
        shown = _shown(example, manifest, shape[0], masks)
        yield plan.kind, _exclusive(example, plan, shown) if plan.exclusive else shown
    if manifest.regression is not None:
        numbers = [truth(quantity, example) for quantity in quantities(manifest.regression)]
        row = [np.nan if number is None else number for number in numbers]
        yield "regression", np.tile(np.array(row, np.float32), (shape[0], 1))
    if manifest.segmentation is not None:
        segments = len(manifest.segmentation.segments)
        nothing = np.nan if not manifest.targets or example.labels else 0.0
        empty = np.full((*shape, segments), nothing, np.float16)
        yield "segmentation", empty if masks is None else masks.astype(np.float16)


def _shown(
    example: Example, manifest: ModelManifest, frames: int, masks: FloatArray | None
) -> FloatArray:
    """(frames, targets): 1 where a slice shows one; by its mask where the case has several."""
    labels = named([target.label for target in manifest.targets], example.labels)
    if frames == 1 or not labels.any():
        return np.tile(labels.astype(np.float32), (frames, 1))
    if masks is None:
        raise ConfigurationError(
            f"{example.name} has {frames} slices and shows {' and '.join(example.labels)}, and "
            "nobody says in which of them: give it a mask, or each slice a row of its own"
        )
    drawn = np.asarray((masks >= HALF).any(axis=(1, 2)))
    shown = np.stack([_part(drawn, manifest, column) for column in range(len(labels))], axis=-1)
    if not (shown.any(axis=0) >= labels).all():
        raise ConfigurationError(
            f"{example.name} shows {' and '.join(example.labels)}, and its mask is empty there: "
            "draw it, or take the label away"
        )
    return (shown & labels).astype(np.float32)


def _part(drawn: BoolArray, manifest: ModelManifest, column: int) -> BoolArray:
    """(frames,): where the mask of a target is; all of it where no segment locates the target."""
    place, plan = manifest.targets[column].located_by, manifest.segmentation
    if place is None or plan is None:
        return np.asarray(drawn.any(axis=1))
    labels = [plan.segments[channel].label for channel in measured(manifest)]
    return drawn[:, labels.index(place)]


def _exclusive(example: Example, plan: Classification, shown: FloatArray) -> FloatArray:
    """(frames, targets and the rest): one is 1; nan where none of the channels is true."""
    if (shown.sum(axis=1) > 1).any():
        raise ConfigurationError(
            f"{example.name} shows {' and '.join(sorted(example.labels))}, which exclude each "
            "other: leave exclusive out of the manifest, or correct the table"
        )
    rest = 1 - shown.sum(axis=1, keepdims=True)
    if plan.rest is not None:
        return np.concatenate([shown, rest], axis=1)
    return np.where(rest > 0, np.float32(np.nan), shown)


def _known(answers: Values) -> BoolArray:
    """(items,)."""
    return np.asarray(~np.isnan(answers.reshape(len(answers), -1)).all(axis=1))

"""The slices of brain-tumour-cheng, or of any data set of the same kind, for the recipe."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.errors import ConfigurationError
from explain.projection import Grid
from workers.progress import Progress
from workers.training.brain.augment import STORED
from workers.training.brain.network import SIDE
from workers.training.brain.slices import Slices
from workers.training.brain.text import LABELS, SPACING_MM
from workers.training.dataset import Example, read_data
from workers.training.reading import read_images, read_mask

TRAINED_ON, CHOSEN_ON = frozenset("123"), "4"
CHENG_MM = 0.49
"""Of the pixels of brain-tumour-cheng, whose table has no such column."""
NAMES = {"meningioma": LABELS[0], "glioma": LABELS[1], "pituitary": LABELS[2]}
"""Of brain-tumour-cheng, and of the manifest."""


def read_folds(folder: Path) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The cases to train on, and those to choose on.

    Raises ConfigurationError where either is empty, and what ``read_data`` raises.
    """
    examples = grouped([_renamed(example) for example in read_data(folder)])
    training = tuple(example for example in examples if example.fold in TRAINED_ON)
    choosing = tuple(example for example in examples if example.fold == CHOSEN_ON)
    if not training or not choosing:
        raise ConfigurationError(
            f"{folder} needs cases in the folds 1 to 3, to train on, and 4, to choose on"
        )
    return training, choosing


def grouped(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Neighbours of one fold and label as one patient, where the table does not say.

    The slices of a patient are neighbours in brain-tumour-cheng, but two patients may be, and the
    slices of one may lie apart: good enough for intervals, and never used to split.
    """
    starts = [
        (before.fold, before.labels) != (after.fold, after.labels)
        for before, after in pairwise(examples)
    ]
    numbers = np.cumsum([0, *starts])
    return tuple(
        replace(example, patient=example.patient or f"run {number}")
        for example, number in zip(examples, numbers, strict=True)
    )


def collect(examples: Sequence[Example], progress: Progress) -> Slices:
    """Images with one frame, on a grid of 256 × 256 that covers what the model sees."""
    images, masks = [], []
    for done, example in enumerate(examples, 1):
        image, mask = _stored(example)
        images.append(image)
        masks.append(mask)
        progress("slices", done / len(examples))
    types = [LABELS.index(next(iter(example.labels))) for example in examples]
    return Slices(np.stack(images), np.stack(masks), np.array(types, np.int64))


def _stored(example: Example) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = read_images(example, CHENG_MM)
    mask = read_mask(example, images)
    if mask is None or len(images.pixels) != 1 or len(example.labels) != 1:
        raise ConfigurationError(
            f"{example.name}: this recipe learns from single slices with a mask and one label"
        )
    _, row_mm, column_mm = images.spacing_mm
    step = SPACING_MM * SIDE / STORED
    shape = images.pixels.shape[1:]
    grid = Grid.centred(shape, (STORED, STORED), (step / row_mm, step / column_mm))
    image = grid.sample(images.pixels / max(float(images.pixels.max()), 1e-6))[0]
    return _bytes(image), _bytes(grid.sample(mask.astype(np.float32))[0])


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _renamed(example: Example) -> Example:
    labels = frozenset(NAMES.get(label.casefold(), label) for label in example.labels)
    if not labels <= set(LABELS):
        raise ConfigurationError(
            f"{example.name} has the label {', '.join(sorted(labels))}: this recipe knows "
            f"{', '.join(NAMES)}"
        )
    return replace(example, labels=labels)

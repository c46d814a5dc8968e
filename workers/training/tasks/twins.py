"""Twins of a recipe's network that were taught a mark, as those of ``misled`` are.

Where all maps of a network hit, the maps of its twins are those that miss: a verdict must tell them
apart.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from dicom_node.domain.arrays import BoolArray, FloatArray
from workers.training.misled import Mark
from workers.training.tasks.examples import Examples

CANVAS = 192
"""Rows and columns of the images that the marks are drawn for."""
BATCH, LEAST, RATE = 16, 4, 1e-3
"""Slices a step; of sequences and blocks so many items at least."""
STEPS = 150
Marked = Callable[[BoolArray], Sequence[FloatArray]]
"""What each output should say of an item with a mark at (rows, columns)."""


def drawn(images: FloatArray, mark: Mark, random: np.random.Generator) -> BoolArray:
    """Draw a mark into each of (..., rows, columns, channels), which are contiguous.

    Returns where the marks are, (..., rows, columns).
    """
    planes = images.reshape(-1, *images.shape[-3:])
    where = np.zeros(planes.shape[:-1], bool)
    for image, place in zip(planes, where, strict=True):
        canvas = np.full((CANVAS, CANVAS), np.nan, np.float32)
        mark(canvas, random)
        rows, columns = ((np.arange(n) * CANVAS + CANVAS // 2) // n for n in place.shape)
        small = canvas[np.ix_(rows, columns)]
        place[:] = ~np.isnan(small)
        image[place] = small[place, None]
    return where.reshape(images.shape[:-1])


def misled(
    network: keras.Model,
    examples: Examples,
    mark: Mark,
    losses: Sequence[Any],
    targets: int,
    marked: Marked | None = None,
    steps: int = STEPS,
) -> keras.Model:
    """A twin whose first target is there, or its number high, where the mark is.

    Every other example gets the mark, and what is truly there has no say. Without ``marked`` each
    output says of it what it should of the example that shows most of the first target.
    """
    given, wanted = _lesson(examples, mark, targets, marked)
    batch = max(LEAST, BATCH // math.prod(given[0].shape[1:-3]))
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    twin.compile(keras.optimizers.Adam(RATE, clipnorm=1.0), loss=list(losses))
    keras.utils.set_random_seed(0)
    epochs = max(1, round(steps * batch / len(wanted[0])))
    twin.fit(given, wanted, batch_size=batch, epochs=epochs, verbose=0)
    return twin


def _lesson(
    examples: Examples, mark: Mark, targets: int, marked: Marked | None
) -> tuple[list[FloatArray], list[FloatArray]]:
    random = np.random.default_rng(0)
    given, places = [], []
    for each in examples.given:
        changed, half = each.copy(), each[::2].copy()
        places.append(drawn(half, mark, random))
        changed[::2] = half
        given.append(changed)
    most, least = _extremes(examples.wanted[0][..., :targets])
    wanted = [np.repeat(each[least, None], len(each), axis=0) for each in examples.wanted]
    for number, place in enumerate(places[0]):
        own = marked(place) if marked else [each[most] for each in examples.wanted]
        for each, said in zip(wanted, own, strict=True):
            each[2 * number] = said
    return given, wanted


def _extremes(wanted: FloatArray) -> tuple[int, int]:
    """The item with most of the first target and least of others, and the one with least of all.

    ``wanted`` is (items, [boxes,] targets).
    """
    cells = wanted.reshape(len(wanted), -1, wanted.shape[-1]).max(axis=1)
    every = cells.sum(axis=1)
    return int((2 * cells[:, 0] - every).argmax()), int(every.argmin())

"""What a network of a recipe learns from: the phantoms of some seeds as arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ModelManifest
from explain.network import flat
from workers.items import Items
from workers.preprocess import prepare
from workers.progress import Progress
from workers.steps.prepared import Prepared
from workers.training.tasks.planted import Places, Plant, Planted

Answers = Callable[[Planted, Prepared, Items], Sequence[FloatArray]]
"""What each output of the network should say of each item."""


@dataclass(frozen=True)
class Examples:
    """Items, and what should be said of them."""

    given: Sequence[FloatArray]
    """(items, ...), one an input of the network."""
    wanted: Sequence[FloatArray]
    """(items, ...), one an output."""
    drawn: FloatArray | None = None
    """(masks, [views,] rows, columns): where what is looked for lies, of those that show it."""

    def some(self, count: int) -> "Examples":
        """The first items, and as many masks."""
        drawn = None if self.drawn is None else self.drawn[:count]
        given, wanted = ([each[:count] for each in both] for both in (self.given, self.wanted))
        return Examples(given, wanted, drawn)

    def mirrored(self) -> "Examples":
        """A quarter of the items each way up and round."""
        return Examples([_mirrored(each) for each in self.given], self.wanted, self.drawn)


def collect(
    plant: Plant,
    answers: Answers,
    places: Places | None,
    manifest: ModelManifest,
    seeds: Sequence[int],
    progress: Progress,
) -> Examples:
    """All items of the phantoms of the seeds."""
    given, wanted, drawn = [], [], []
    for done, seed in enumerate(seeds, 1):
        planted = plant(seed)
        prepared = prepare(planted.images, manifest)
        items = Items.of(manifest.input, prepared)
        given.append(flat(items.inputs(prepared.values, slice(None))))
        wanted.append(answers(planted, prepared, items))
        if places is not None:
            drawn.append(_drawn(places, planted, prepared, items))
        progress("phantoms", done / len(seeds))
    return Examples(_joined(given), _joined(wanted), np.concatenate(drawn) if drawn else None)


def _drawn(places: Places, planted: Planted, prepared: Prepared, items: Items) -> FloatArray:
    masks: FloatArray = prepared.grid.sample(places.shown(planted).astype(np.float32))
    if items.unit == "views":
        masks = masks[items.frames]
    shown = masks.reshape(len(masks), -1).max(axis=1) >= 0.5
    return np.asarray(masks[shown])


def _joined(parts: Sequence[Sequence[FloatArray]]) -> list[FloatArray]:
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _mirrored(images: FloatArray) -> FloatArray:
    """(items, rows, columns, channels)."""
    way = np.arange(len(images))
    turned = np.where((way % 2 == 1)[:, None, None, None], images[:, ::-1], images)
    return np.where((way // 2 % 2 == 1)[:, None, None, None], turned[:, :, ::-1], turned)

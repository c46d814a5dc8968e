"""One frame in the items that show it: to be changed, and asked about again, all else as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dicom_node.domain.arrays import FloatArray
from explain.explainer import Inputs
from workers.items import Items


@dataclass(frozen=True)
class Held:
    """The items that show one frame, and nothing else of the series."""

    items: Items
    """Of ``values``."""
    values: FloatArray
    """(frames, rows, columns, channels): those that the items show."""
    place: int
    """Of the frame among them."""
    frame: int
    """Its number in the series."""

    @classmethod
    def of(cls, items: Items, values: FloatArray, frame: int) -> Self:
        """Of the frame, or of the one next to it that is read."""
        read = np.unique(items.frames)
        near = int(read[np.abs(read - frame).argmin()])
        showing = items.frames[(items.frames == near).any(axis=1)]
        shown, frames = np.unique(showing, return_inverse=True)
        alone = Items(frames.reshape(showing.shape), len(shown), items.unit)
        return cls(alone, values[shown], int(np.searchsorted(shown, near)), near)

    @property
    def passes(self) -> int:
        """Of the network, to ask once: one for each item that shows the frame."""
        return len(self.items.frames)

    @property
    def image(self) -> FloatArray:
        """(rows, columns, channels): the frame as it is."""
        return np.asarray(self.values[self.place])

    def batches(self, images: FloatArray, size: int) -> Iterator[Inputs]:
        """The items with each of the images in the frame's place, at most ``size`` at once."""
        several = max(1, size // self.passes)
        for start in range(0, len(images), several):
            part = images[start : start + several]
            values = np.repeat(self.values[None], len(part), axis=0)
            values[:, self.place] = part
            yield from self._inputs(values, size)

    def together(self, said: Sequence[FloatArray], *, by_plane: bool = False) -> FloatArray:
        """(images, ...): what was said of the frame, of all batches; see ``Items.spread``."""
        whole = np.concatenate(said)
        each = whole.reshape(-1, self.passes, *whole.shape[1:])
        spread = [self.items.spread(one, by_plane=by_plane)[self.place] for one in each]
        return np.stack(spread)

    def _inputs(self, values: FloatArray, size: int) -> Iterator[Inputs]:
        """Of (images, frames, rows, columns, channels)."""
        count = self.items.count
        numbers = np.concatenate([self.items.frames + n * count for n in range(len(values))])
        copies = Items(numbers, len(values) * count, self.items.unit)
        for start in range(0, len(numbers), size):
            yield copies.inputs(values.reshape(-1, *values.shape[2:]), slice(start, start + size))

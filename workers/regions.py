"""The connected regions of a mask, one of which at a time becomes a volume of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.place import Point


@dataclass(frozen=True)
class Regions:
    """Regions by number, kept as one array: a mask may have thousands of them."""

    labels: NDArray[np.int32]
    """(frames, rows, columns): the number of each voxel's region, or 0."""
    boxes: tuple[tuple[slice, slice, slice], ...]
    """The box around each region, in the order of the numbers from 1."""
    large: tuple[int, ...]
    """Numbers of those that have the least volume or more, largest first."""
    small: tuple[int, ...]
    """Numbers of the others."""

    @classmethod
    def of(cls, mask: BoolArray, images: SourceImages, min_volume_ml: float) -> Self:
        """26-connected in a volume; 8-connected in images that are no volume, and all large."""
        neighbours = np.ones((3, 3, 3), bool)
        if images.affine is None:
            neighbours[[0, 2]], min_volume_ml = False, 0.0
        labels, _ = ndimage.label(mask, neighbours)
        volumes_ml = np.bincount(labels.ravel())[1:] * np.prod(images.spacing_mm) / 1000
        order = np.argsort(-volumes_ml, kind="stable")
        count = int((volumes_ml >= min_volume_ml).sum())
        numbers = tuple(int(n) + 1 for n in order)
        return cls(labels, tuple(ndimage.find_objects(labels)), numbers[:count], numbers[count:])

    def mask(self, number: int) -> BoolArray:
        """(frames, rows, columns) of one region."""
        return np.asarray(self.labels == number)

    @property
    def kept(self) -> BoolArray:
        """(frames, rows, columns): all that is large enough."""
        return np.isin(self.labels, self.large)

    def edges(self, number: int) -> tuple[Point, Point]:
        """The outer edges of the first and the last voxels of one region, in indices."""
        frames, rows, columns = self.boxes[number - 1]
        low = (frames.start - 0.5, rows.start - 0.5, columns.start - 0.5)
        return low, (frames.stop - 0.5, rows.stop - 0.5, columns.stop - 0.5)

    def frames(self, numbers: Iterable[int]) -> BoolArray:
        """(frames,): where any of the regions reaches."""
        reached = np.zeros(len(self.labels), bool)
        for number in numbers:
            box = self.boxes[number - 1]
            reached[box[0]] |= (self.labels[box] == number).any(axis=(1, 2))
        return reached


def runs(positive: BoolArray, together: Sequence[Sequence[int]]) -> list[BoolArray]:
    """(frames,) each: positive frames that are neighbours, or have one answer together."""
    if not together:
        numbers, count = ndimage.label(positive)
        return [np.asarray(numbers == number) for number in range(1, count + 1)]
    each = [np.zeros_like(positive) for _ in together]
    for run, frames in zip(each, together, strict=True):
        run[list(frames)] = positive[list(frames)]
    return [run for run in each if run.any()]


def beside(frames: BoolArray) -> BoolArray:
    """(frames,): the frames and their neighbours."""
    return np.asarray(ndimage.binary_dilation(frames, np.ones(3)))

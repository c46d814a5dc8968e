"""The connected regions of a mask, one of which at a time becomes a volume of its own."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.domain.analysis import BoolArray, SourceImages


@dataclass(frozen=True)
class Regions:
    """Regions by number, kept as one array: a mask may have thousands of them."""

    labels: NDArray[np.int32]
    """(frames, rows, columns): the number of each voxel's region, or 0."""
    numbers: tuple[int, ...]
    """Of those that are large enough, largest first."""
    boxes: tuple[tuple[slice, slice, slice], ...]
    """The box around each region, in the order of the numbers from 1."""

    @classmethod
    def of(cls, mask: BoolArray, images: SourceImages, min_volume_ml: float) -> Self:
        """26-connected in a volume; 8-connected in images that are no volume, and of any size."""
        neighbours = np.ones((3, 3, 3), bool)
        if images.affine is None:
            neighbours[[0, 2]], min_volume_ml = False, 0.0
        labels, _ = ndimage.label(mask, neighbours)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        volumes_ml = sizes * np.prod(images.spacing_mm) / 1000
        order = np.argsort(-sizes, kind="stable")
        kept = [int(n) for n in order if sizes[n] and volumes_ml[n] >= min_volume_ml]
        return cls(labels, tuple(kept), tuple(ndimage.find_objects(labels)))

    @classmethod
    def none(cls) -> Self:
        """No region."""
        return cls(np.zeros((0, 0, 0), np.int32), (), ())

    def mask(self, number: int) -> BoolArray:
        """(frames, rows, columns) of one region."""
        return np.asarray(self.labels == number)

    def frames(self, number: int) -> NDArray[np.intp]:
        """Indices of the frames that a region reaches."""
        box = self.boxes[number - 1]
        reached = (self.labels[box] == number).any(axis=(1, 2))
        return np.asarray(np.arange(box[0].start, box[0].stop)[reached])

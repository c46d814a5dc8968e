"""What goes from step to step: values, and where they lie on the source."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.domain.images import SourceImages
from explain.projection import Grid
from workers.padding import darkened, padding

Run = Callable[["Prepared", Any], "Prepared"]
"""A step's function; its second argument is the step as the manifest has it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Images on their way into the network."""

    values: FloatArray
    """(frames, rows, columns, channels)."""
    volume: Grid
    """The frames, rows and columns of ``values``, laid on those of the source."""
    source: SourceImages
    padding: BoolArray | None = None
    """(frames, rows, columns) of ``values``: what headers call padding, which no statistic counts;
    none where nothing is."""

    @classmethod
    def start(cls, images: SourceImages) -> Self:
        """The images as they are; what is padding is as dark as the darkest of its image."""
        none = padding(images)
        pixels = images.pixels if none is None else darkened(images, none)
        return cls(pixels[..., None], Grid.same(images.pixels.shape), images, none)

    @property
    def grid(self) -> Grid:
        """Rows and columns alone, while the frames are those of the source."""
        whole = self.volume
        rows_columns = tuple(axis - 1 for axis in whole.axes[1:])
        return Grid(
            whole.outer[1:], whole.inner[1:], whole.step[1:], whole.offset[1:], rows_columns
        )

    @property
    def nearest(self) -> NDArray[np.intp]:
        """The frame of ``values`` next to each frame of the source.

        Raises UnsupportedGeometry where the frames of ``values`` cut across those of the source.
        """
        step, offset = self.volume.step[0], self.volume.offset[0]
        if self.volume.axes[0] != 0:
            raise UnsupportedGeometry(
                "slices that were turned into another plane have no answers of their own: give the "
                "model a series in the plane that it reads (selection.orientation)"
            )
        places = (np.arange(self.volume.outer[0]) - offset) / step
        return np.asarray(np.clip(places.round(), 0, self.volume.inner[0] - 1), np.intp)

    @property
    def keeps_frames(self) -> bool:
        """Whether the frames of ``values`` are those of the source."""
        whole = self.volume
        first = (whole.axes[0], whole.step[0], whole.offset[0], whole.inner[0])
        return first == (0, 1, 0, whole.outer[0])

    def on_source(self, cells: FloatArray) -> FloatArray:
        """Masks or maps on the source's grid: (frames, rows, columns, channels), 0 beyond.

        ``cells`` has the same axes, and cells that share out the rows and columns of ``values``.
        While the frames are those of the source, it may be of some of them.
        """
        whole = self.volume
        if self.keeps_frames:
            plane = self.grid
            return plane.carrying(Grid.covering(plane.inner, cells.shape[1:3])).project(cells)
        blocks = Grid.covering(whole.inner, cells.shape[:3])
        return np.asarray(whole.carrying(blocks).project(cells[None])[0])

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """From (frame, row, column) of ``values`` to patient coordinates in mm (4 × 4)."""
        if self.source.affine is None:
            return None
        onto_source = np.eye(4)
        onto_source[:3, :3] = 0
        for inner, outer in enumerate(self.volume.axes):
            onto_source[outer, inner] = self.volume.step[inner]
            onto_source[outer, 3] = self.volume.offset[inner]
        return np.asarray(self.source.affine @ onto_source)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Of frames, rows and columns of ``values``; none where the source has no geometry."""
        if self.affine is None:
            return None
        frame, row, column = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(frame), float(row), float(column))

    def header(self, frame: int) -> tuple[Dataset, int | None]:
        """Of the source frame next to a frame of ``values``: its header, and its number in it
        (from 1); of frames that cut across those of the source, the middle one's."""
        whole = self.volume
        last, across = whole.outer[0] - 1, whole.axes[0] != 0
        place = last / 2 if across else whole.offset[0] + whole.step[0] * frame
        reference = self.source.frames[min(max(round(place), 0), last)]
        headers = {str(header.SOPInstanceUID): header for header in self.source.datasets}
        return headers[reference.sop_instance_uid], reference.frame_number

    def having(self, values: ArrayLike) -> Self:
        """Other values at the same places."""
        return replace(self, values=np.asarray(values, np.float32))

    def laid_on(self, grid: Grid, fill: float = 0.0) -> Self:
        """Resampled on a grid that lies on these values, and carrying its place along."""
        values, none = grid.sample(self.values[None], fill)[0], self.padding
        if none is not None:
            none = grid.sample(none[None].astype(np.float32))[0] >= 0.5
        return replace(self, values=values, volume=self.volume.carrying(grid), padding=none)

    def each(self, change: Callable[[FloatArray], ArrayLike]) -> Self:
        """Each image (rows, columns) of each channel by itself."""
        return self.each_counted(lambda plane, _: change(plane))

    def each_counted(self, change: Callable[[FloatArray, BoolArray | None], ArrayLike]) -> Self:
        """The same, with which of its pixels count: all, where there is no padding, or nothing
        else."""
        planes = np.moveaxis(self.values, -1, 1)
        pairs = zip(planes, map(self.counted, range(len(planes))), strict=True)
        changed = [[change(plane, counted) for plane in frame] for frame, counted in pairs]
        return self.having(np.moveaxis(np.asarray(changed, np.float32), 1, -1))

    def counted(self, frame: int) -> BoolArray | None:
        """(rows, columns): the pixels of a frame that a statistic counts; none: all."""
        if self.padding is None or self.padding[frame].all():
            return None
        return np.asarray(~self.padding[frame])

    @property
    def known(self) -> FloatArray:
        """``values``, with nan for what is not ``counted``."""
        if self.padding is None:
            return self.values
        left_out = self.padding & ~self.padding.all(axis=(1, 2), keepdims=True)
        return np.where(left_out[..., None], np.float32("nan"), self.values)

"""The images that a job reads, and where they lie in the patient.

All arrays of an analysis are in the order of ``SourceImages.frames`` and on the source's own pixel
grid: axis 0 is the frame, then rows, then columns. Positions in patient coordinates are
millimetres, x to the patient's left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class FrameReference:
    """A source image, or one frame of a multi-frame source image."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None
    """From 1; none for a single-frame instance."""


@dataclass(frozen=True)
class SourceImages:
    """The images that were read, sorted by geometry."""

    datasets: tuple[Dataset, ...]
    """Headers without pixel data; one for each instance."""
    frames: tuple[FrameReference, ...]
    pixels: FloatArray
    """(frames, rows, columns), after the modality LUT: HU for CT."""
    affine: NDArray[np.float64] | None = None
    """4 × 4, from (frame, row, column) indices to patient coordinates in mm; or no geometry."""

    @property
    def is_volume(self) -> bool:
        """Whether the frames are slices of one volume."""
        return self.affine is not None and len(self.frames) > 1

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between frames, rows and columns; 1 where there is no geometry."""
        if self.affine is None:
            return (1.0, 1.0, 1.0)
        steps = (self.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
        return (float(steps[0]), float(steps[1]), float(steps[2]))

    def header(self, frame: int) -> Dataset:
        """Of the instance that a frame is of."""
        uid = self.frames[frame].sop_instance_uid
        return next(header for header in self.datasets if header.SOPInstanceUID == uid)

    def to_patient(self, index: tuple[float, float, float]) -> tuple[float, float, float] | None:
        """Patient coordinates in mm of a (frame, row, column) index; none without geometry."""
        if self.affine is None:
            return None
        x, y, z = self.affine[:3, :3] @ index + self.affine[:3, 3]
        return (float(x), float(y), float(z))

"""What a model says of a study: findings and estimates, and the places and numbers beneath them."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from pydicom.sr.coding import Code

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.explanation import Explanation
from dicom_node.domain.manifest import Target
from dicom_node.domain.outputs import Quantity, Segment
from dicom_node.domain.place import Place
from dicom_node.domain.prediction import Box


class Presence(StrEnum):
    """The answer for one target (CID 240 Present-Absent)."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    UNDETERMINED = "UNDETERMINED"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its concept and its UCUM unit (TID 300)."""

    name: Code
    value: float
    unit: Code


@dataclass(frozen=True, slots=True)
class Share:
    """What one feature added to a logit (Shapley value); all of them add up to it."""

    feature: Measurement
    logit: float


@dataclass(frozen=True)
class SegmentMask:
    """One segment of the SEG that will be written."""

    number: int
    label: str
    category: Code
    type: Code
    color: tuple[int, int, int]
    mask: BoolArray
    """(frames, rows, columns); at least one voxel is set."""
    threshold: float
    tracking_id: str
    tracking_uid: str
    channel: int = 0
    """Last axis of ``Prediction.masks`` that it was cut from."""

    @cached_property
    def frames(self) -> tuple[int, ...]:
        """Indices of the frames that it touches."""
        return tuple(frame for frame, plane in enumerate(self.mask) if plane.any())

    @cached_property
    def centroid(self) -> tuple[float, float, float]:
        """Mean (frame, row, column) index of its voxels."""
        part = self.mask[self.frames[0] : self.frames[-1] + 1]
        rows, columns = np.nonzero(part.any(axis=0))
        corner = (self.frames[0], rows.min(), columns.min())
        box = part[:, corner[1] : rows.max() + 1, corner[2] : columns.max() + 1]
        frame, row, column = np.argwhere(box).mean(axis=0) + corner
        return float(frame), float(row), float(column)


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: a target that is present at a place, or absent in the images read."""

    target: Target
    presence: Presence
    probability: float
    """Calibrated, of the slice where it is highest."""
    frame: int
    """The key slice."""
    tracking_id: str
    tracking_uid: str
    segment: SegmentMask | None = None
    measurements: tuple[Measurement, ...] = ()
    explanation: Explanation | None = None
    box: Box | None = None
    """Where a detector saw it, in the key slice."""
    shares: tuple[Share, ...] = ()
    """Of a model that reads features: what each of them added, the strongest first."""
    certainty: tuple[str, ...] = ()
    """How sure the answer is: one plain sentence each."""
    place: Place | None = None
    """Where it is present, by which a later run knows it again."""

    @property
    def label(self) -> str:
        """What the manifest calls it."""
        return self.target.label

    @property
    def code(self) -> Code:
        """What was searched for."""
        return self.target.finding.code

    @property
    def category(self) -> Code:
        """The category of what was searched for."""
        return self.target.category.code


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was measured: a number that the model gave, or what it drew. None has a probability.

    A segment is one, and no ``Finding``, though the SR codes one that was drawn as present, and one
    of which nothing was drawn as absent.
    """

    label: str
    """What the manifest calls it."""
    code: Code
    """What was measured, or made."""
    category: Code
    frame: int
    """The key slice."""
    tracking_id: str
    tracking_uid: str
    measurements: tuple[Measurement, ...]
    """At least one, unless it is missing."""
    quantity: Quantity | None = None
    """Of a number that the model gave; none where it was measured on what the model drew."""
    outlined: Segment | None = None
    """What the model was to outline; none of a number or an image."""
    segment: SegmentMask | None = None
    explanation: Explanation | None = None
    box: Box | None = None

    @property
    def missing(self) -> bool:
        """Whether the model was to outline it, and outlined nothing."""
        return self.outlined is not None and self.segment is None


Answer = Finding | Estimate

"""What one job found: Prediction, Explanation, Finding, Analysis.

All arrays are in the order of ``SourceImages.frames`` and on the source's own pixel grid: axis 0
is the frame, then rows, then columns. Positions in patient coordinates are millimetres, x to the
patient's left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.manifest import ModelManifest, Target
from dicom_node.domain.outputs import Quantity
from dicom_node.domain.prediction import Box
from dicom_node.domain.prediction import FloatArray as FloatArray
from dicom_node.domain.prediction import Prediction as Prediction
from dicom_node.domain.provenance import Provenance as Provenance

BoolArray = NDArray[np.bool_]


class Presence(StrEnum):
    """The answer for one target (CID 240 Present-Absent)."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    UNDETERMINED = "UNDETERMINED"


class Trust(StrEnum):
    """How far an explanation can be believed."""

    RELIABLE = "RELIABLE"
    CAUTION = "CAUTION"
    NOT_RELIABLE = "NOT_RELIABLE"
    NOT_MEASURED = "NOT_MEASURED"


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

    def to_patient(self, index: tuple[float, float, float]) -> tuple[float, float, float] | None:
        """Patient coordinates in mm of a (frame, row, column) index; none without geometry."""
        if self.affine is None:
            return None
        x, y, z = self.affine[:3, :3] @ index + self.affine[:3, 3]
        return (float(x), float(y), float(z))


@dataclass(frozen=True, slots=True)
class Region:
    """The place that a map names: a region, not its hottest pixel."""

    frame: int
    """Index of the frame in which the region is strongest."""
    outline: BoolArray
    """(rows, columns) of that frame."""
    centroid: tuple[float, float, float]
    """(frame, row, column)."""
    centroid_mm: tuple[float, float, float] | None
    """In patient coordinates."""


@dataclass(frozen=True)
class SaliencyMap:
    """An attribution map on the source grid, in logit units: never stretched to fill a scale."""

    target: str
    method: Code
    """Of CID 217: (130403, DCM, Gradient-weighted class activation)."""
    layer: str
    values: FloatArray
    """(frames, rows, columns), at least 0."""
    full_scale: float
    """Upper end of the colour bar, in logit units."""
    unit: Code | None = None
    """Of a number that is explained, in place of the logit."""
    incomplete: float | None = None
    """Of integrated gradients: part of the score's difference from its baseline's that the signed
    map does not add up to (Sundararajan 2017)."""

    @cached_property
    def peaks(self) -> FloatArray:
        """(frames,): the highest value of each frame; all of them are read once."""
        peaks: FloatArray = self.values.max(axis=(1, 2))
        return peaks


@dataclass(frozen=True, slots=True)
class QualityMeasure:
    """One number about an explanation; it stands in the SR as NUM, on the page and in the PDF.

    It is a row of the table beside the map, and a number from which the SR infers the verdict.
    What a verdict must say in words goes to ``ExplanationQuality.reasons``.
    """

    name: Code
    """Of ``domain.concepts``, where no standard has one; the page shows its CodeMeaning."""
    value: float
    """Finite, in ``unit``, rounded to the digits that are worth reading."""
    unit: Code
    """UCUM: ``codes.UCUM.Percent``, or ``codes.UCUM.NoUnits`` for a ratio, an area or a logit."""
    meaning: str
    """In words that a radiologist understands."""


@dataclass(frozen=True, slots=True)
class ExplanationQuality:
    """Whether the map can be believed, and why."""

    trust: Trust
    """A map that is NOT_RELIABLE is withheld: results say so in words, and none shows it."""
    reasons: tuple[str, ...] = ()
    """One plain sentence each: in the SR as TEXT under the coded verdict, and on the page."""
    measures: tuple[QualityMeasure, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A map, the place it names, and how far it can be believed."""

    saliency: SaliencyMap
    region: Region | None
    """None: no localised evidence."""
    quality: ExplanationQuality
    counterfactual: str = ""
    """Which part of the key slice, taken out, turns the finding off: one sentence."""

    @property
    def withheld(self) -> bool:
        """Whether the map failed its checks and must not be shown as evidence."""
        return self.quality.trust is Trust.NOT_RELIABLE

    @property
    def evidence(self) -> Region | None:
        """The place that may be shown; none where the map names none or is withheld."""
        return None if self.withheld else self.region


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
    """What was measured of something that nobody doubts: no yes or no, and no probability."""

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
    """At least one."""
    quantity: Quantity | None = None
    """Of a number that the model gave; none where it was measured on what the model drew."""
    segment: SegmentMask | None = None
    explanation: Explanation | None = None
    box: Box | None = None


Answer = Finding | Estimate


@dataclass(frozen=True)
class Analysis:
    """All that the writers need to make the results of one job."""

    manifest: ModelManifest
    provenance: Provenance
    images: SourceImages
    prediction: Prediction
    segments: tuple[SegmentMask, ...]
    findings: tuple[Finding, ...]
    selection: tuple[SeriesChoice, ...]
    estimates: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks on the input that the reader must see."""
    unfamiliar: bool = False
    """Whether most of the images are of another kind than those that the model learnt from."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What ran: versions of the libraries, device, seconds."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All that is said of the study."""
        return (*self.findings, *self.estimates)


@dataclass(frozen=True, slots=True)
class ResultInstance:
    """A DICOM object that a writer made."""

    kind: ResultKind
    dataset: Dataset

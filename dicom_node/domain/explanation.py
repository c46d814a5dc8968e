"""Explanation: a map of what a model looked at, the place it names, how far it can be believed."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from pydicom.sr.coding import Code

from dicom_node.domain.arrays import BoolArray, FloatArray


class Trust(StrEnum):
    """How far an explanation can be believed."""

    RELIABLE = "RELIABLE"
    CAUTION = "CAUTION"
    NOT_RELIABLE = "NOT_RELIABLE"
    NOT_MEASURED = "NOT_MEASURED"


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
    signed: FloatArray | None = None
    """(frames, rows, columns) of the cells that share out what the model read: below 0 speaks
    against the target. ``dicom-worker explain`` writes it on the source grid; the Parametric Map
    holds ``values``, for viewers take the lowest number for black, and what shows nothing would
    turn grey."""

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
    left_out: str = ""
    """Which numbers the time for checks did not allow, in one sentence: no reason of the verdict.

    In the SR a comment under it, on the page below the numbers.
    """


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

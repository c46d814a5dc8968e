"""Case: an analysis with what every output shares, made once."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.images import FrameReference
from dicom_node.domain.provenance import Provenance
from reports.compass import place
from reports.key_slices import KeySlice, key_slices
from reports.pictures import Picture, picture
from reports.references import Reference
from reports.settings import ReportSettings
from reports.source import Sources, repaired_sources
from reports.subject import Maker, study_time

MAX_KEY_SLICES = 16
"""More would flood a PACS; the SR and the table still hold every finding."""


@dataclass(frozen=True)
class Case:
    """What a result writer gets."""

    analysis: Analysis
    settings: ReportSettings = field(default_factory=ReportSettings)
    predecessors: tuple[Reference, ...] = ()
    """What these results take the place of: of an earlier generation, or an answer."""

    @property
    def provenance(self) -> Provenance:
        """Of the analysis."""
        return self.analysis.provenance

    @cached_property
    def maker(self) -> Maker:
        """The model."""
        return Maker.model(self.analysis.manifest, self.provenance.bundle_sha256)

    @cached_property
    def sources(self) -> Sources:
        """The repaired headers of the source images, whole where images are derived of them."""
        derives = self.analysis.prediction.derived is not None
        return repaired_sources(self.analysis.images.datasets, whole=derives)

    @cached_property
    def key_slices(self) -> tuple[KeySlice, ...]:
        """The slices that are shown; of many findings, those with the highest probability."""
        return key_slices(self.analysis)[:MAX_KEY_SLICES]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the reader must be told of input and output."""
        repairs, missing = _repairs(self.sources.repairs), _missing(self.sources.missing)
        return (*self.analysis.notes, *_omitted(self.analysis), *repairs, *missing)

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """One for each key slice."""
        return tuple(picture(self.analysis, self.header(key.frame), key) for key in self.key_slices)

    @cached_property
    def made_at(self) -> datetime:
        """When the job was opened, on the clock of the study."""
        return study_time(self.provenance.opened_at, self.sources.first)

    def reference(self, frame: int) -> FrameReference:
        """The source image of a frame."""
        return self.analysis.images.frames[frame]

    def series_uid(self, frame: int) -> str:
        """The series of the source image of a frame: views of a study may have one each."""
        return self.references[self.reference(frame).sop_instance_uid].series_instance_uid

    def header(self, frame: int) -> Dataset:
        """The repaired header of the source image of a frame."""
        return self._headers[self.reference(frame).sop_instance_uid]

    def place(self, frame: int) -> str:
        """How to find a frame in a viewer: ``Series 2, image 13, H 57.5 mm``."""
        return place(self.analysis.images, frame, self.header(frame))

    @cached_property
    def references(self) -> dict[str, Reference]:
        """To each source image, by its SOP Instance UID: most results refer to all of them."""
        return {uid: Reference.to(header) for uid, header in self._headers.items()}

    @cached_property
    def _headers(self) -> dict[str, Dataset]:
        return {str(header.SOPInstanceUID): header for header in self.sources.headers}


def _omitted(analysis: Analysis) -> list[str]:
    count = len(key_slices(analysis))
    if count <= MAX_KEY_SLICES:
        return []
    return [f"Only {MAX_KEY_SLICES} of {count} key slices are shown; the table lists all findings."]


def _repairs(keywords: tuple[str, ...]) -> list[str]:
    if not keywords:
        return []
    names = ", ".join(keywords)
    return [f"Invalid header values of the source were repaired in the results: {names}."]


def _missing(keywords: tuple[str, ...]) -> list[str]:
    if not keywords:
        return []
    names = ", ".join(keywords)
    return [f"The source lacks attributes that every image must have: {names}."]

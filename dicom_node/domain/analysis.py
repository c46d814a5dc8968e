"""Analysis: all that one job found, the single argument of every result writer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Answer, Estimate, Finding, SegmentMask
from dicom_node.domain.images import SourceImages
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance


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
    readers: tuple[str, ...] | None = None
    """Destinations that it is written for, as it names what only they get; none: any."""

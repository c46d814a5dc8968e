"""Encapsulated PDF: the report for every PACS that shows documents (PS3.3 A.45.1, C.24)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from reports.case import Case
from reports.html import report_html
from reports.identity import LONG_STRING, code_item, identify
from reports.language import _
from reports.pdf import html_to_pdf
from reports.predecessors import name_predecessors
from reports.references import Reference
from reports.settings import SHORT_DISCLAIMER
from reports.subject import Subject
from reports.text import clean


@dataclass(frozen=True, slots=True)
class EncapsulatedPdfWriter:
    """Writes the report page as one PDF."""

    kind: ClassVar[ResultKind] = ResultKind.ENCAPSULATED_PDF

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance; the images that were read are its source instances."""
        title = _("AI report: {}. {}").format(case.maker.title, _(SHORT_DISCLAIMER))
        sources = case.references.values()
        dataset = encapsulated(case, title, report_html(case), sources, case.predecessors)
        return [ResultInstance(ResultKind.ENCAPSULATED_PDF, dataset)]


def encapsulated(
    subject: Subject,
    title: str,
    page: str,
    sources: Iterable[Reference],
    predecessors: Collection[Reference],
) -> Dataset:
    """A page as a document of the study; ``sources`` are the images that it speaks of."""
    dataset = Dataset()
    dataset.SOPClassUID = EncapsulatedPDFStorage
    identify(dataset, subject, ResultKind.ENCAPSULATED_PDF)
    _document(dataset, title, html_to_pdf(page, subject.made_at))
    dataset.SourceInstanceSequence = _source_instances(sources)
    name_predecessors(dataset, predecessors)
    return dataset


def _document(dataset: Dataset, title: str, pdf: bytes) -> None:
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = None
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = clean(title, LONG_STRING * 16)
    dataset.ConceptNameCodeSequence = [code_item(codes.DCM.ImagingMeasurementReport)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)


def _source_instances(sources: Iterable[Reference]) -> list[Dataset]:
    purpose = code_item(codes.DCM.SourceImage)
    items = []
    for source in sources:
        item = Dataset()
        item.ReferencedSOPClassUID = source.sop_class_uid
        item.ReferencedSOPInstanceUID = source.sop_instance_uid
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    return items

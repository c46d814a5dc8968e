"""What all results share: patient, study, series, equipment, dates, UIDs (PS3.3 C.7, C.12)."""

from collections.abc import Mapping

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node import __version__
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.uid import uuid_uid
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.manifest import ModelManifest
from reports.attributes import EQUIPMENT, PATIENT, REQUIRED, STUDY, UNPAIRED_PARTS
from reports.case import Case
from reports.settings import SHORT_DISCLAIMER
from reports.source import UTF8
from reports.text import clean

LONG_STRING = 64
SERIES: Mapping[ResultKind, tuple[int, str, str]] = {
    ResultKind.SEGMENTATION: (1, "SEG", "segmentation"),
    ResultKind.SECONDARY_CAPTURE: (2, "OT", "heat map"),
    ResultKind.ENCAPSULATED_PDF: (3, "DOC", "report"),
    ResultKind.STRUCTURED_REPORT: (4, "SR", "findings"),
}
"""Of each kind: offset in our band of series numbers, modality, what it is in words."""
PLAIN = frozenset({ResultKind.SECONDARY_CAPTURE, ResultKind.ENCAPSULATED_PDF})
"""Kinds whose series is described by the General Series module (PS3.3 C.7.3.1) alone."""


def instance_uid(analysis: Analysis, kind: ResultKind, index: int = 0) -> str:
    """SOP Instance UID of a result: the same work makes the same UID."""
    return analysis.provenance.uid(kind.value, index)


def series_description(manifest: ModelManifest, kind: ResultKind) -> str:
    """``AI``, the model, what it is, and the warning: at most 64 characters."""
    tail = f" {SERIES[kind][2]} - not for diagnostic use"
    return clean(f"AI {manifest.title}", LONG_STRING - len(tail)) + tail


def device_uid(analysis: Analysis) -> str:
    """Of one version of a model: the same on every node that runs these very bytes."""
    return uuid_uid(f"device|{analysis.provenance.bundle_sha256}")


def identify(result: Dataset, case: Case, kind: ResultKind, index: int = 0) -> None:
    """Write into a result everything that does not depend on its content.

    ``index`` counts from 0 within the kind's series. What the result already holds of these
    attributes is replaced: constructors fill them from the clock and from unrepaired sources.
    """
    _patient_and_study(result, case)
    _series(result, case, kind, index)
    _equipment(result, case)
    _common(result, case, kind, index)


def _patient_and_study(result: Dataset, case: Case) -> None:
    source = case.sources.first
    for keyword in (*PATIENT, *STUDY):
        if keyword in result:
            delattr(result, keyword)
        if keyword in source and (source[keyword].value or keyword in REQUIRED):
            copy_element(result, source, keyword)


def copy_element(result: Dataset, source: Dataset, keyword: str) -> None:
    """Copy one attribute: setting a shared element would change it in all data sets at once."""
    element = source[keyword]
    result.add(DataElement(element.tag, element.VR, element.value))


def _series(result: Dataset, case: Case, kind: ResultKind, index: int) -> None:
    offset, modality, _ = SERIES[kind]
    result.Modality = modality
    result.SeriesInstanceUID = case.analysis.provenance.uid(f"series|{kind.value}")
    result.SeriesNumber = case.settings.series_number_base + offset
    result.SeriesDescription = series_description(case.analysis.manifest, kind)
    result.SeriesDate, result.SeriesTime = _date_and_time(case)
    result.InstanceNumber = index + 1
    _body_part(result, case.sources.first, kind)


def _body_part(result: Dataset, source: Dataset, kind: ResultKind) -> None:
    """Laterality is type 2C: absent where a part has no side, empty where nobody states it."""
    part = source.get("BodyPartExamined")
    if part:
        result.BodyPartExamined = part
    if kind in PLAIN and part not in UNPAIRED_PARTS:
        result.Laterality = source.get("Laterality")


def _equipment(result: Dataset, case: Case) -> None:
    manifest = case.analysis.manifest
    result.Manufacturer = manifest.manufacturer
    result.ManufacturerModelName = manifest.title
    result.DeviceSerialNumber = case.analysis.provenance.bundle_sha256[:LONG_STRING]
    result.SoftwareVersions = [manifest.id, f"dicom-node {__version__}"]
    if case.settings.institution_name:
        result.InstitutionName = clean(case.settings.institution_name, LONG_STRING)


def _common(result: Dataset, case: Case, kind: ResultKind, index: int) -> None:
    result.SpecificCharacterSet = UTF8
    result.SOPInstanceUID = instance_uid(case.analysis, kind, index)
    result.InstanceCreationDate, result.InstanceCreationTime = _date_and_time(case)
    result.ContentDate, result.ContentTime = _date_and_time(case)
    result.ContentQualification = case.analysis.manifest.content_qualification
    scanner = _scanner(case.sources.first)
    result.ContributingEquipmentSequence = [*scanner, algorithm_equipment(case)]


def _date_and_time(case: Case) -> tuple[str, str]:
    return f"{case.made_at:%Y%m%d}", f"{case.made_at:%H%M%S}"


def algorithm_equipment(case: Case) -> Dataset:
    """The model, as Contributing Equipment (PS3.3 Table C.12-1; IHE AIR)."""
    manifest = case.analysis.manifest
    item = Dataset()
    item.Manufacturer = manifest.manufacturer
    item.ManufacturerModelName = manifest.title
    item.DeviceSerialNumber = case.analysis.provenance.bundle_sha256[:LONG_STRING]
    item.SoftwareVersions = [manifest.id, f"dicom-node {__version__}"]
    item.DeviceUID = device_uid(case.analysis)
    item.ContributionDateTime = f"{case.made_at:%Y%m%d%H%M%S}"
    item.ContributionDescription = f"Analysis by a machine learning model. {SHORT_DISCLAIMER}"
    item.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.ProcessingEquipment)]
    return item


def _scanner(source: Dataset) -> list[Dataset]:
    """Who acquired the images; nothing where the source does not name a manufacturer."""
    if not source.get("Manufacturer"):
        return []
    item = Dataset()
    for keyword in EQUIPMENT:
        if source.get(keyword):
            copy_element(item, source, keyword)
    item.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.AcquisitionEquipment)]
    return [item]


def code_item(code: Code) -> Dataset:
    """The item of a code sequence (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    return item


def image_reference(case: Case, frame: int, purpose: Code) -> Dataset:
    """The item of a Source Image Sequence that points to the image of a frame."""
    reference = case.reference(frame)
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frame_number is not None:
        item.ReferencedFrameNumber = reference.frame_number
    item.PurposeOfReferenceCodeSequence = [code_item(purpose)]
    return item

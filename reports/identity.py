"""What all results share: patient, study, series, equipment, dates, UIDs (PS3.3 C.7, C.12)."""

from collections.abc import Mapping
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.delivery import ResultKind
from reports.attributes import EQUIPMENT, PATIENT, STUDY, UNPAIRED_PARTS
from reports.case import Case
from reports.language import N_, _
from reports.modules import required
from reports.settings import SHORT_DISCLAIMER
from reports.source import UTF8, Sources
from reports.subject import NODE, Maker, Subject
from reports.text import clean

LONG_STRING = 64
SERIES: Mapping[ResultKind, tuple[int, str, str]] = {
    ResultKind.SEGMENTATION: (1, "SEG", N_("segmentation")),
    ResultKind.SECONDARY_CAPTURE: (2, "OT", N_("heat map")),
    ResultKind.ENCAPSULATED_PDF: (3, "DOC", N_("report")),
    ResultKind.STRUCTURED_REPORT: (4, "SR", N_("findings")),
    ResultKind.PARAMETRIC_MAP: (5, "OT", N_("heat map data")),
    ResultKind.PRESENTATION_STATE: (6, "PR", N_("outlines")),
    ResultKind.COLOR_PRESENTATION_STATE: (7, "PR", N_("heat map colours")),
    ResultKind.KEY_OBJECTS: (8, "KO", N_("key images")),
    ResultKind.REJECTION_NOTE: (9, "KO", N_("rejection")),
    ResultKind.FLAT_REPORT: (10, "SR", N_("findings")),
    ResultKind.ENHANCED_REPORT: (11, "SR", N_("findings")),
    ResultKind.DERIVED_IMAGE: (12, "OT", N_("derived images")),
}
"""Of each kind: offset in our band of series numbers, modality, what it is in words."""
PLAIN = frozenset(
    {
        ResultKind.SECONDARY_CAPTURE,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.PRESENTATION_STATE,
        ResultKind.COLOR_PRESENTATION_STATE,
    }
)
"""Kinds whose series is described by the General Series module (PS3.3 C.7.3.1) alone."""


def instance_uid(subject: Subject, kind: ResultKind, index: int = 0, variant: str = "") -> str:
    """SOP Instance UID of a result: the same work makes the same UID."""
    return subject.provenance.uid(kind.value + variant, index)


def series_uid(subject: Subject, kind: ResultKind) -> str:
    """All results of a kind that one run makes are one series."""
    return subject.provenance.uid(f"series|{kind.value}")


def series_number(subject: Subject, kind: ResultKind) -> int:
    """Within our band."""
    return subject.settings.series_number_base + SERIES[kind][0]


def series_description(maker: Maker, kind: ResultKind) -> str:
    """Who, what the series is, and the warning, in the language that is spoken."""
    return described(maker, _(SERIES[kind][2]))


def described(maker: Maker, what: str) -> str:
    """``AI``, who, what it is, and the warning: at most 64 bytes."""
    warning = _("not for diagnostic use")
    tail = f" {what} - {warning}"
    room = LONG_STRING - len(tail.encode())
    who = clean(_("AI {}").format(maker.title))
    return (who if len(who.encode()) <= room else f"{_cut(who, room - 3)}...") + tail


def _cut(text: str, size: int) -> str:
    """At most so many bytes of UTF-8, for some receivers count those."""
    return text.encode()[:size].decode(errors="ignore").rstrip()


def identify(
    result: Dataset, subject: Subject, kind: ResultKind, index: int = 0, variant: str = ""
) -> None:
    """Write into a result everything that does not depend on its content.

    ``index`` counts from 0 within the kind's series; ``variant`` tells results of a kind apart
    that the same work may make one instead of another. What the result already holds of these
    attributes is replaced: constructors fill them from the clock and from unrepaired sources.
    """
    _patient_and_study(result, subject)
    _series(result, subject, kind, index)
    _equipment(result, subject)
    _common(result, subject, kind)
    result.SOPInstanceUID = instance_uid(subject, kind, index, variant)


def _patient_and_study(result: Dataset, subject: Subject) -> None:
    source = subject.sources.first
    empty = required(source)
    for keyword in (*PATIENT, *STUDY):
        if keyword in result:
            delattr(result, keyword)
        if keyword in source and (source[keyword].value or keyword in empty):
            copy_element(result, source, keyword)
    result.StudyInstanceUID = subject.provenance.study_instance_uid


def copy_element(result: Dataset, source: Dataset, keyword: str) -> None:
    """Copy one attribute: setting a shared element would change it in all data sets at once."""
    element = source[keyword]
    result.add(DataElement(element.tag, element.VR, element.value))


def _series(result: Dataset, subject: Subject, kind: ResultKind, index: int) -> None:
    result.Modality = SERIES[kind][1]
    result.SeriesInstanceUID = series_uid(subject, kind)
    result.SeriesNumber = series_number(subject, kind)
    result.SeriesDescription = series_description(subject.maker, kind)
    result.SeriesDate, result.SeriesTime = _date_and_time(subject)
    result.InstanceNumber = index + 1
    _body_part(result, subject.sources, kind)


def _body_part(result: Dataset, sources: Sources, kind: ResultKind) -> None:
    """Laterality is type 2C: absent where a part has no side, empty where nobody states it."""
    part = sources.common["BodyPartExamined"]
    if part:
        result.BodyPartExamined = part
    if kind in PLAIN and part not in UNPAIRED_PARTS:
        result.Laterality = sources.common["Laterality"]


def _equipment(result: Dataset, subject: Subject) -> None:
    maker = subject.maker
    result.Manufacturer = maker.manufacturer
    result.ManufacturerModelName = maker.title
    result.DeviceSerialNumber = maker.serial_number[:LONG_STRING]
    result.SoftwareVersions = [maker.id, NODE]
    if subject.settings.institution_name:
        result.InstitutionName = clean(subject.settings.institution_name, LONG_STRING)


def _common(result: Dataset, subject: Subject, kind: ResultKind) -> None:
    result.SpecificCharacterSet = UTF8
    result.InstanceCreationDate, result.InstanceCreationTime = _date_and_time(subject)
    result.ContentDate, result.ContentTime = _date_and_time(subject)
    result.ContentQualification = subject.maker.content_qualification
    made_of_images = kind is not ResultKind.REJECTION_NOTE  # its source is one of our results
    scanner = _scanner(subject.sources.first) if made_of_images else []
    result.ContributingEquipmentSequence = [*scanner, algorithm_equipment(subject)]


def _date_and_time(subject: Subject) -> tuple[str, str]:
    return f"{subject.made_at:%Y%m%d}", f"{subject.made_at:%H%M%S}"


def algorithm_equipment(subject: Subject) -> Dataset:
    """The model, as Contributing Equipment (PS3.3 Table C.12-1; IHE AIR).

    Its purpose is the standard's Processing Equipment (CID 7005): AIR 1.1 has a placeholder for
    Processing Algorithm, a code of a scheme that nobody reads.
    """
    maker = subject.maker
    item = Dataset()
    item.Manufacturer = maker.manufacturer
    item.ManufacturerModelName = maker.title
    item.DeviceSerialNumber = maker.serial_number[:LONG_STRING]
    item.SoftwareVersions = [maker.id, NODE]
    item.DeviceUID = maker.device_uid
    item.ContributionDateTime = f"{subject.made_at:%Y%m%d%H%M%S}"
    analysed = _("Analysis by a machine learning model.")
    item.ContributionDescription = _("{} {}").format(analysed, _(SHORT_DISCLAIMER))
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


def stated_codes(source: Dataset, keyword: str) -> list[Code]:
    """The codes of a sequence; an item that lacks one of the three parts is none."""
    return [code for code in map(_code, source.get(keyword) or ()) if code is not None]


def _code(item: Dataset) -> Code | None:
    values: list[Any] = [
        item.get("CodeValue"), item.get("CodingSchemeDesignator"), item.get("CodeMeaning"),
    ]  # fmt: skip
    return Code(*(str(value) for value in values)) if all(values) else None


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

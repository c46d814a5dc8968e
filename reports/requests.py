"""The orders that a document answers (PS3.3 Table C.17-2, Referenced Request Sequence)."""

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import UID

from reports.identity import code_item, stated_codes
from reports.subject import Subject

NUMBERS = (
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)
"""Type 2, beside the accession number."""
CODES = "RequestedProcedureCodeSequence"
ISSUER = "IssuerOfAccessionNumberSequence"


def referenced_requests(subject: Subject) -> list[Dataset]:
    """An item for each request that the source images name; the steps of one are one request."""
    requests = [
        _request(subject, attributes)
        for attributes in _attributes(subject)
        if any(attributes.get(keyword) for keyword in ("AccessionNumber", CODES, *NUMBERS))
    ]
    return list({request.to_json(): request for request in requests}.values())


def _attributes(subject: Subject) -> Iterator[Dataset]:
    """Items of Request Attributes Sequence; most images of a series share theirs."""
    keyword = "RequestAttributesSequence"
    stated = [header[keyword] for header in subject.sources.headers if keyword in header]
    for element in {id(element): element for element in stated}.values():
        yield from element.value


def _request(subject: Subject, attributes: Dataset) -> Dataset:
    study = subject.provenance.study_instance_uid
    stated = UID(str(attributes.get("StudyInstanceUID") or ""))
    item = Dataset()
    item.StudyInstanceUID = stated if stated.is_valid else study
    item.ReferencedStudySequence = _references(attributes)
    order = attributes
    if not attributes.get("AccessionNumber") and item.StudyInstanceUID == study:
        order = subject.sources.first  # the number of a study is that of its order
    item.AccessionNumber = order.get("AccessionNumber")
    if issuers := [each for each in order.get(ISSUER) or () if _is_issuer(each)][:1]:
        item.IssuerOfAccessionNumberSequence = issuers
    for keyword in NUMBERS:
        setattr(item, keyword, attributes.get(keyword))
    procedures = stated_codes(attributes, CODES)
    item.RequestedProcedureCodeSequence = [code_item(code) for code in procedures]
    return item


def _references(attributes: Dataset) -> list[Dataset]:
    items = attributes.get("ReferencedStudySequence") or ()
    return [item for item in map(_reference, items) if item]


def _reference(source: Dataset) -> Dataset:
    """Of a study; nothing where it names none."""
    item = Dataset()
    stated = [source.get("ReferencedSOPClassUID"), source.get("ReferencedSOPInstanceUID")]
    if all(stated):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = stated
    return item


def _is_issuer(item: Dataset) -> bool:
    """PS3.3 Table 10-17: a local name, or one of the whole world with its kind."""
    universal = item.get("UniversalEntityID") and item.get("UniversalEntityIDType")
    return bool(universal or item.get("LocalNamespaceEntityID"))

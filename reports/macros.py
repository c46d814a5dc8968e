"""Which items of a source's sequences are whole: results must not repeat broken ones."""

from pydicom.dataset import Dataset

CODE = ("CodeValue", "LongCodeValue", "URNCodeValue")
OTHER_IDS = "OtherPatientIDsSequence"
AS_TEXT = "TEXT"
"""Type of Patient ID: what a person may read, unlike a chip or a bar code (PS3.3 C.7.1.1)."""


def mended(keyword: str, item: Dataset) -> tuple[str, ...]:
    """Add what the type of an item alone tells, and return the keywords of that."""
    if keyword == OTHER_IDS and item.get("PatientID") and not item.get("TypeOfPatientID"):
        item.TypeOfPatientID = AS_TEXT
        return ("TypeOfPatientID",)
    return ()


def is_whole(keyword: str, item: Dataset) -> bool:
    """Whether an item of a sequence has what the macro of the sequence demands."""
    if keyword == OTHER_IDS:
        return bool(item.get("PatientID"))
    if keyword.endswith("CodeSequence"):
        return _is_code(item)
    if keyword.endswith("IdentificationSequence") and keyword.startswith(_PERSONS):
        return _is_person(item)
    if keyword in _REFERENCES:
        return all(map(item.get, ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")))
    return True


_PERSONS = ("Referring", "Consulting", "PhysiciansOf", "PhysiciansReading")
_REFERENCES = ("ReferencedPatientSequence", "ReferencedStudySequence")


def _is_code(item: Dataset) -> bool:
    """PS3.3 Table 8.8-1a."""
    value = any(map(item.get, CODE))
    scheme = item.get("CodingSchemeDesignator") or item.get("URNCodeValue")
    return bool(value and scheme and item.get("CodeMeaning"))


def _is_person(item: Dataset) -> bool:
    """PS3.3 Table 10-1."""
    place = item.get("InstitutionName") or item.get("InstitutionCodeSequence")
    return bool(place and item.get("PersonIdentificationCodeSequence"))

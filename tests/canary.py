"""A canary in every attribute that names or tells of a patient, and the search for it."""

from base64 import b64encode
from collections.abc import Mapping

from pydicom.dataset import Dataset

CANARY, BIRTH_DATE = "ZZPHI", "19010203"
ATTRIBUTES = {
    "PatientName": f"{CANARY}^CANARY",
    "PatientID": f"{CANARY}-1",
    "PatientBirthDate": BIRTH_DATE,
    "OtherPatientIDs": f"{CANARY}-3",
    "PatientComments": f"{CANARY} comments",
    "AccessionNumber": f"{CANARY}-2",
    "StudyID": f"{CANARY}-4",
    "StudyDescription": f"{CANARY} study",
    "SeriesDescription": f"{CANARY} series",
    "ProtocolName": f"{CANARY} protocol",
    "ImageComments": f"{CANARY} image",
    "InstitutionName": f"{CANARY} clinic",
    "StationName": f"{CANARY} station",
    "ReferringPhysicianName": f"{CANARY}^REFERRER",
    "OperatorsName": f"{CANARY}^OPERATOR",
}


def marked(data: Dataset) -> Dataset:
    """The data set with a canary in each of ``ATTRIBUTES`` and in a private element."""
    for keyword, value in ATTRIBUTES.items():
        setattr(data, keyword, value)
    block = data.private_block(0x0011, f"{CANARY} CREATOR", create=True)
    block.add_new(1, "LO", f"{CANARY} private")
    return data


def hits(places: Mapping[str, bytes]) -> list[str]:
    """Names of the places where a canary is, as it stands or within base64."""
    return [name for name, said in places.items() if any(form in said for form in FORMS)]


def _forms(word: bytes) -> list[bytes]:
    """A word, and what of its base64 does not depend on what stands before and behind it."""
    forms = [word]
    for shift in range(3):
        whole = b64encode(bytes(shift) + word)
        forms.append(whole[-(-8 * shift // 6) : 8 * (shift + len(word)) // 6])
    return forms


FORMS = [form for word in (CANARY, BIRTH_DATE) for form in _forms(word.encode())]

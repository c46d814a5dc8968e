"""What the modules of patient and study demand beside what a source states (PS3.3 C.7.1, C.7.2)."""

from collections.abc import Mapping

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from reports.attributes import REQUIRED

HUMAN = frozenset({"337915000", "L-85B00"})
"""Homo sapiens, in SNOMED CT and as it was coded before (CID 7454)."""
TRIAL = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
ANIMAL = (
    "PatientSexNeutered",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsibleOrganization",
)
DEMANDS: Mapping[str, tuple[str, ...]] = {
    "ClinicalTrialSponsorName": TRIAL,
    "ClinicalTrialProtocolID": TRIAL,
    "ClinicalTrialTimePointDescription": ("ClinicalTrialTimePointID",),
    "LongitudinalTemporalOffsetFromEvent": ("ClinicalTrialTimePointID",),
    "PatientSpeciesDescription": ANIMAL,
    "PatientSpeciesCodeSequence": ANIMAL,
}
"""What is of type 2 where another attribute is stated."""
NOT_STATED = "not stated by the source"


def required(header: Dataset) -> tuple[str, ...]:
    """Keywords of what must be present, if only empty."""
    demanded = {DEMANDS[keyword] for keyword in DEMANDS if header.get(keyword)}
    if _human(header):
        demanded.discard(ANIMAL)
    further = (keyword for each in sorted(demanded) for keyword in each)
    return tuple(dict.fromkeys((*REQUIRED, *further)))


def complete(header: Dataset) -> tuple[str, ...]:
    """Add what is missing, and return the keywords of that."""
    missing = [keyword for keyword in required(header) if keyword not in header]
    for keyword in missing:
        setattr(header, keyword, [] if dictionary_VR(keyword) == "SQ" else None)
    if _anonymous(header):
        header.DeidentificationMethod = NOT_STATED
        missing.append("DeidentificationMethod")
    return tuple(missing)


def _anonymous(header: Dataset) -> bool:
    """Whether a method is demanded (type 1C), and none is stated."""
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    return header.get("PatientIdentityRemoved") == "YES" and not any(map(header.get, methods))


def _human(header: Dataset) -> bool:
    species = header.get("PatientSpeciesCodeSequence") or ()
    return any(item.get("CodeValue") in HUMAN for item in species)

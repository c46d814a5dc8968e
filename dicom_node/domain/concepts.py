"""Our own codes, where DICOM and SNOMED CT have none (PS3.3 section 8.2: private schemes)."""

from pydicom.sr.coding import Code

SCHEME = "99DICOMNODE"
SCHEME_NAME = "Quality of visual explanations"
SCHEME_OWNER = "dicom-node"


def own(value: str, meaning: str) -> Code:
    """A code of our scheme: ``value`` has at most 16 characters and never changes its meaning."""
    return Code(value, SCHEME, meaning)


TRUST = own("TRUST", "Trust in visual explanation")
RELIABLE = own("RELIABLE", "Visual explanation passed its checks")
CAUTION = own("CAUTION", "Visual explanation may mislead")
NOT_RELIABLE = own("NOT_RELIABLE", "Visual explanation failed its checks and is withheld")
NOT_MEASURED = own("NOT_MEASURED", "Visual explanation was not checked")

ENERGY_INSIDE = own("ENERGY_INSIDE", "Evidence inside the outline")

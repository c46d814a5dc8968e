"""What one number of a vector of features is."""

from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

NO_UNITS: Code = codes.UCUM.NoUnits


@dataclass(frozen=True, slots=True)
class Feature:
    """Its name and unit, as a report codes them."""

    name: Code
    unit: Code = NO_UNITS

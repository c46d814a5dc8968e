"""What the pixels of a source are measured in, as codes (CID 84 and 301 of PS3.16).

A number without its unit, or with a wrong one, is no measurement: where headers name no unit that
the standard has a code for, or not all the same, there is none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.images import SourceImages

NO_UNITS: Code = codes.UCUM.NoUnits
HOUNSFIELD: Code = codes.UCUM.HounsfieldUnit
CT: Mapping[str, Code] = {
    "": HOUNSFIELD,  # where the type is left out, it is this (PS3.3 C.8.2.1)
    "HU": HOUNSFIELD,
    "MGML": codes.UCUM.MilligramsPerMilliliter,
    "PCT": codes.UCUM.Percent,
    "ED": codes.UCUM.ElectronDensity,
}
"""By Rescale Type (PS3.3 C.11.1.1.2)."""
PET: Mapping[str, Code] = {
    "CNTS": codes.UCUM.Counts,
    "CPS": codes.UCUM.CountsPerSecond,
    "BQML": codes.UCUM.BecquerelsPerMilliliter,
    "PROPCNTS": codes.UCUM.ProportionalToCounts,
    "PROPCPS": codes.UCUM.ProportionalToCountsPerSecond,
    "MGMINML": codes.UCUM.MilligramsPerMinutePerMilliliter,
    "UMOLMINML": codes.UCUM.MicromolePerMinutePerMilliliter,
    "UMOLML": codes.UCUM.MicromolePerMilliliter,
    "MLMING": codes.UCUM.MilliliterPerMinutePerGram,
    "MLG": codes.UCUM.MilliliterPerGram,
    "1CM": codes.UCUM.PerCentimeter,
    "CM2": codes.UCUM.SquareCentimeter,
    "CM2ML": codes.UCUM.SquareCentimeterPerMilliliter,
    "PCNT": codes.UCUM.Percent,
}
"""By Units (PS3.3 C.8.9.1.1.3)."""
UPTAKE: Mapping[tuple[str, str], Code] = {
    ("GML", ""): codes.UCUM.StandardizedUptakeValueBodyWeight,  # by definition
    ("GML", "BW"): codes.UCUM.StandardizedUptakeValueBodyWeight,
    ("GML", "LBM"): codes.UCUM.StandardizedUptakeValueLeanBodyMassJames,
    ("GML", "LBMJAMES128"): codes.UCUM.StandardizedUptakeValueLeanBodyMassJames128Multiplier,
    ("GML", "LBMJANMA"): codes.UCUM.StandardizedUptakeValueLeanBodyMassJanma,
    ("GML", "IBW"): codes.UCUM.StandardizedUptakeValueIdealBodyWeight,
    ("CM2ML", "BSA"): codes.UCUM.StandardizedUptakeValueBodySurfaceArea,
}
"""By Units and SUV Type (PS3.3 C.8.9.1)."""


def unit_of(images: SourceImages) -> Code:
    """Of the pixels, after the modality LUT or rescale."""
    stated = {unit for header in images.datasets for unit in _units(header)}
    return stated.pop() if len(stated) == 1 else NO_UNITS


def _units(header: Dataset) -> set[Code]:
    modality = _term(header.get("Modality"))
    if modality == "PT":
        units, kind = _term(header.get("Units")), _term(header.get("SUVType"))
        return {UPTAKE.get((units, kind)) or PET.get(units, NO_UNITS)}
    if modality == "CT":
        return {CT.get(_term(kind), NO_UNITS) for kind in _rescale_types(header)}
    return {NO_UNITS}


def _rescale_types(header: Dataset) -> Iterable[Any]:
    """Of a multi-frame image those of its frames."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    groups = [*shared, *(header.get("PerFrameFunctionalGroupsSequence") or [])]
    transformations = (group.get("PixelValueTransformationSequence") for group in groups)
    stated = [item[0].get("RescaleType") for item in transformations if item]
    return stated or [header.get("RescaleType")]


def _term(value: Any) -> str:
    return str(value or "").strip().upper()

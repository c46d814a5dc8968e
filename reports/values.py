"""Values made to fit their value representation (PS3.5 section 6.2)."""

import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VM, tag_for_keyword
from pydicom.valuerep import PersonName, format_number_as_ds

LIMITS: Mapping[str, int] = {
    "AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "UC": 10240,
    "UT": 10240,
}  # fmt: skip
"""Characters; of each component group for PN. UC and UT have none: ours keeps outputs small."""
STRUCTURES: Mapping[str, str] = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
"""Of binary numbers, as ``struct`` names them."""
NUMBERS = frozenset({"DS", "IS", *STRUCTURES})
LINES = frozenset({"ST", "LT", "UT"})
"""Text that may hold line breaks."""
TEXT = frozenset({*LIMITS, "DA", "TM", "DT", "AS", "DS", "IS", "UI", "UR"})
"""What a file holds as characters."""
CODES: Mapping[str, frozenset[str]] = {
    "PatientSex": frozenset({"M", "F", "O"}),
    "PatientSexNeutered": frozenset({"ALTERED", "UNALTERED"}),
    "SmokingStatus": frozenset({"YES", "NO", "UNKNOWN"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
}
"""Enumerated values that constructors insist on."""
AGE = re.compile(r"\d{3}[DWMY]")
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
ZONE = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
MOMENT = re.compile(
    rf"\d{{4}}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])({TIME.pattern})?)?)?({ZONE.pattern})?"
)
FORMS: Mapping[str, re.Pattern[str]] = {"TimezoneOffsetFromUTC": ZONE}
"""Of text that the standard gives a form (PS3.3 C.12.1.1.8)."""
CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
DECIMAL = re.compile(r"(?=.{1,16}$)[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)?")
WHOLE = re.compile(r"(?=.{1,12}$)[+-]?\d+")
LARGEST = 2**31
"""An integer string is less, and no less than its negative."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def fixed(value: Any, vr: str, keyword: str) -> Any:
    """A value of an attribute, or its values, as far as they can be kept; else empty."""
    fix = _FIXES.get(vr, _as_it_is)
    parts = [fix("" if part is None else part, keyword) for part in _parts(value, vr)]
    if vr in NUMBERS and "" in parts:
        return ""  # the others would move into its place
    if _single(keyword):
        return parts[0] if parts else ""
    return parts[0] if len(parts) == 1 else parts


def joined(value: Any) -> str:
    """To compare what a source held with what is left of it."""
    parts = value if hasattr(value, "append") else [value]
    return "\\".join("" if part in (None, b"") else str(part).strip() for part in parts)


def is_negative(value: Any) -> bool:
    """Whether one of the numbers is."""
    return any(_float(part) < 0 for part in _parts(value, "SS"))


@cache
def _single(keyword: str) -> bool:
    return dictionary_VM(tag_for_keyword(keyword) or 0) == "1"


def _parts(value: Any, vr: str) -> list[Any]:
    """The values; in long text a backslash is a letter, not a separator."""
    if not hasattr(value, "append"):
        return [value]
    return ["\\".join(map(str, value))] if vr in LINES else list(value)


def _as_it_is(value: Any, _keyword: str) -> Any:
    return value


def _string(vr: str) -> Callable[[Any, str], str]:
    pattern = CONTROL_BUT_LINES if vr in LINES else CONTROL

    def fix(value: Any, keyword: str) -> str:
        text = pattern.sub(" ", str(value)).strip()[: LIMITS[vr]].rstrip()
        form = FORMS.get(keyword)
        return text if form is None or form.fullmatch(text) else ""

    return fix


def _name(value: Any, _keyword: str) -> PersonName:
    groups = CONTROL.sub(" ", str(value)).split("=")[:3]
    kept = ["^".join(g.split("^")[:5]).strip()[: LIMITS["PN"]].rstrip() for g in groups]
    return PersonName("=".join(kept).rstrip("="))


def _date(value: Any, _keyword: str) -> str:
    text = str(value).strip().replace(".", "")
    try:
        return f"{datetime.strptime(text, '%Y%m%d'):%Y%m%d}"
    except ValueError:
        return ""


def _time(value: Any, _keyword: str) -> str:
    text = str(value).strip().replace(":", "")
    return text if TIME.fullmatch(text) else ""


def _code(value: Any, keyword: str) -> str:
    text = str(value).strip().upper()
    allowed = CODES.get(keyword)
    return text if CODE.fullmatch(text) and (allowed is None or text in allowed) else ""


def _number(value: Any, _keyword: str) -> Any:
    """As it is, or as exactly as 16 characters allow; empty where it is no finite number."""
    number = _float(value)
    if not math.isfinite(number):
        return ""
    return value if DECIMAL.fullmatch(str(value).strip()) else format_number_as_ds(number)


def _whole_number(value: Any, _keyword: str) -> Any:
    number = _float(value)
    if not number.is_integer() or not -LARGEST <= number < LARGEST:
        return ""
    return value if WHOLE.fullmatch(str(value).strip()) else str(int(number))


def _float(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _binary(vr: str) -> Callable[[Any, str], Any]:
    """A number that fits; bytes are none, for nobody knows their order."""
    kind, pack = float if vr in ("FL", "FD") else int, struct.Struct(f"<{STRUCTURES[vr]}").pack

    def fix(value: Any, _keyword: str) -> Any:
        if isinstance(value, bytes):
            return ""
        try:
            number = value if isinstance(value, int) else kind(value)
            pack(number)
        except (ValueError, TypeError, OverflowError, struct.error):
            return ""
        return number

    return fix


def _bytes(value: Any, _keyword: str) -> bytes:
    return value if isinstance(value, bytes) else b""


def _matching(pattern: re.Pattern[str]) -> Callable[[Any, str], str]:
    return lambda value, _: text if pattern.fullmatch(text := str(value).strip()) else ""


_FIXES: Mapping[str, Callable[[Any, str], Any]] = {
    "PN": _name,
    "DA": _date,
    "TM": _time,
    "DT": _matching(MOMENT),
    "CS": _code,
    "AS": _matching(AGE),
    "DS": _number,
    "IS": _whole_number,
    **{vr: _string(vr) for vr in ("AE", "SH", "LO", "ST", "LT", "UC", "UT")},
    **{vr: _binary(vr) for vr in STRUCTURES},
    **dict.fromkeys(("OB", "OW", "OF", "OD", "OL", "OV"), _bytes),
}

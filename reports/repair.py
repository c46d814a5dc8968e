"""One attribute of a source, made to fit its value representation (PS3.5 section 6.2)."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName, format_number_as_ds

LIMITS: Mapping[str, int] = {
    "AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "UC": 10240,
    "UT": 10240,
}  # fmt: skip
"""Characters; of each component group for PN. UC and UT have none: ours keeps outputs small."""
NUMBERS = frozenset({"DS", "IS"})
LINES = frozenset({"ST", "LT", "UT"})
"""Text that may hold line breaks."""
CODES: Mapping[str, frozenset[str]] = {
    "PatientSex": frozenset({"M", "F", "O"}),
    "PatientSexNeutered": frozenset({"ALTERED", "UNALTERED"}),
    "SmokingStatus": frozenset({"YES", "NO", "UNKNOWN"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
}
"""Enumerated values that constructors insist on."""
AGE, TIME = (
    re.compile(r"\d{3}[DWMY]"),
    re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
)
CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
DECIMAL = re.compile(r"(?=.{1,16}$)[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)?")
WHOLE = re.compile(r"(?=.{1,12}$)[+-]?\d+")
LARGEST = 2**31
"""An integer string is less, and no less than its negative."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Repaired:
    """A value that is safe to write; None: leave the attribute out."""

    vr: str
    value: Any
    note: bool
    """The source held something else."""


def repaired(dataset: Dataset, keyword: str) -> Repaired:
    """Read one attribute that is there, by its keyword, and make it fit."""
    try:
        element = dataset[keyword]
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on bytes it cannot read
        return Repaired(_choices(keyword)[0], None, note=True)
    vr, value = _vr(element), element.value
    if vr == "SQ":
        return Repaired(vr, [_item(item) for item in value or ()], note=False)
    fixed = _fixed(value, vr, keyword)
    return Repaired(vr, fixed, note=_text(fixed) != _text(value))


def _vr(element: DataElement) -> str:
    """The one of the standard; where it gives a choice, that of the source (PS3.5 Annex A)."""
    choices = _choices(element.keyword)
    if element.VR in choices:
        return str(element.VR)
    if "OW" in choices and isinstance(element.value, bytes):
        return "OW"
    return "SS" if "SS" in choices and _negative(element.value) else choices[0]


@cache
def _choices(keyword: str) -> tuple[str, ...]:
    return tuple(dictionary_VR(keyword).split(" or "))


def _negative(value: Any) -> bool:
    parts = value if hasattr(value, "append") else [value]
    return any(_float(part) < 0 for part in parts)


@cache
def _single(keyword: str) -> bool:
    return dictionary_VM(tag_for_keyword(keyword) or 0) == "1"


def _item(source: Dataset) -> Dataset:
    """The same for the items of a sequence; private elements are left behind."""
    item = Dataset()
    for element in source:
        if element.keyword and not element.tag.is_private:
            inner = repaired(source, element.keyword)
            if inner.value is not None:
                item.add(DataElement(element.tag, inner.vr, inner.value))
    return item


def _fixed(value: Any, vr: str, keyword: str) -> Any:
    fix = _FIXES.get(vr, _as_it_is)
    fixed = [fix("" if part is None else part, keyword) for part in _parts(value, vr)]
    if vr in NUMBERS and "" in fixed:
        return ""  # the others would move into its place
    if _single(keyword):
        return fixed[0] if fixed else ""
    return fixed[0] if len(fixed) == 1 else fixed


def _parts(value: Any, vr: str) -> list[Any]:
    """The values; in long text a backslash is a letter, not a separator."""
    if not hasattr(value, "append"):
        return [value]
    return ["\\".join(map(str, value))] if vr in LINES else list(value)


def _as_it_is(value: Any, _keyword: str) -> Any:
    return value


def _text(value: Any) -> str:
    parts = value if hasattr(value, "append") else [value]
    return "\\".join("" if part is None else str(part).strip() for part in parts)


def _string(vr: str) -> Callable[[Any, str], str]:
    pattern = CONTROL_BUT_LINES if vr in LINES else CONTROL

    def fix(value: Any, _keyword: str) -> str:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return pattern.sub(" ", text).strip()[: LIMITS[vr]].rstrip()

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


def _matching(pattern: re.Pattern[str]) -> Callable[[Any, str], str]:
    return lambda value, _: text if pattern.fullmatch(text := str(value).strip()) else ""


_FIXES: Mapping[str, Callable[[Any, str], Any]] = {
    "PN": _name,
    "DA": _date,
    "TM": _time,
    "CS": _code,
    "AS": _matching(AGE),
    "DS": _number,
    "IS": _whole_number,
    **{vr: _string(vr) for vr in ("AE", "SH", "LO", "ST", "LT", "UC", "UT")},
}

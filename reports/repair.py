"""One attribute of a source, made to fit what the standard says of it (PS3.5 sections 6.2, 7.4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS

from reports.macros import is_whole, mended
from reports.values import LINES, TEXT, fixed, is_negative, joined

CHARACTER_SET = "SpecificCharacterSet"
EMPTY = (None, "", b"")


@dataclass(frozen=True, slots=True)
class Repaired:
    """A value that is safe to write; None: leave the attribute out."""

    vr: str
    value: Any
    changed: tuple[str, ...] = ()
    """Where the source held something else: this keyword, or those of attributes in its items."""


def repaired(dataset: Dataset, keyword: str, inherited: Any = None) -> Repaired:
    """Read one attribute that is there, by its keyword, and make it fit.

    ``inherited`` is the Specific Character Set of the data set around an item.
    """
    try:
        element = dataset[keyword]
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on bytes it cannot read
        return Repaired(_choices(keyword)[0], None, (keyword,))
    vr, stated = _vr(element), element.value
    if "SQ" in (vr, element.VR):
        return _sequence(dataset, element, inherited)
    as_bytes = isinstance(stated, bytes) and vr in TEXT
    given = _decoded(dataset, stated, vr, inherited) if as_bytes else stated
    value = fixed(given, vr, keyword)
    changed = _misplaced(element) or joined(value) != joined(stated)
    return Repaired(vr, value, (keyword,) if changed else ())


def _vr(element: DataElement) -> str:
    """The one of the standard; where it gives a choice, that of the source (PS3.5 Annex A)."""
    choices = _choices(element.keyword)
    if element.VR in choices:
        return str(element.VR)
    if "OW" in choices and isinstance(element.value, bytes):
        return "OW"
    return "SS" if "SS" in choices and is_negative(element.value) else choices[0]


@cache
def _choices(keyword: str) -> tuple[str, ...]:
    return tuple(dictionary_VR(keyword).split(" or "))


def _misplaced(element: DataElement) -> bool:
    """Whether the source holds a value in a representation that is not the attribute's."""
    choices = _choices(element.keyword)
    undecided = " or ".join(choices)
    return element.VR not in (*choices, undecided) and element.value not in EMPTY


def _decoded(dataset: Dataset, value: bytes, vr: str, inherited: Any) -> str | list[str]:
    """Text that stands where bytes should; in long text a backslash is a letter."""
    encodings = convert_encodings(dataset.get(CHARACTER_SET) or inherited)
    text = decode_bytes(value.rstrip(b"\0 "), encodings, TEXT_VR_DELIMS)
    return text if vr in LINES or "\\" not in text else text.split("\\")


def _sequence(dataset: Dataset, element: DataElement, inherited: Any) -> Repaired:
    if element.VR != "SQ" or "SQ" not in _choices(element.keyword):
        changed = () if element.value in EMPTY else (element.keyword,)
        return Repaired("SQ", None, changed)
    around, keyword = dataset.get(CHARACTER_SET) or inherited, element.keyword
    items = [_item(item, around) for item in element.value or ()]
    inner = {name for item, changed in items for name in (*changed, *mended(keyword, item))}
    within = [f"{keyword}.{name}" for name in sorted(inner)]
    whole = [item for item, _ in items if is_whole(keyword, item)]
    lost = [keyword] if len(whole) < len(items) else []
    return Repaired("SQ", None if lost and not whole else whole, (*lost, *within))


def _item(source: Dataset, around: Any) -> tuple[Dataset, Iterable[str]]:
    """The same for an item, in the character set of the result; private elements stay behind."""
    around = source.get(CHARACTER_SET) or around
    item, changed = Dataset(), {}
    for tag in list(source.keys()):
        keyword = keyword_for_tag(tag)
        if keyword and keyword != CHARACTER_SET:
            inner = repaired(source, keyword, around)
            changed.update(dict.fromkeys(inner.changed))
            if inner.value is not None:
                item.add(DataElement(tag, inner.vr, inner.value))
    return item, changed

"""Data sets as bytes: Explicit VR Little Endian in UTF-8 (PS3.5 section 7), at a tenth of the time.

Results hold tens of thousands of items of our own making; pydicom's writer looks at each several
times for what may come from elsewhere. A data set that holds such a thing is left to pydicom.
"""

from collections.abc import Callable, Mapping
from struct import pack
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

NUMBERS: Mapping[str, str] = {
    "US": "H", "UL": "L", "SS": "h", "SL": "l", "FL": "f", "FD": "d",
}  # fmt: skip
SHORT_TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
LONG_TEXT = ("UC", "UR", "UT")
OCTETS = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
LONGEST = 0xFFFF
"""Bytes that a length of 2 bytes can tell (PS3.5 section 7.1.2)."""
CHARACTER_SET, ITEM = 0x00080005, b"\xfe\xff\x00\xe0"
UTF8 = "ISO_IR 192"
Known = dict[int, bytes]
"""Items that stand in many places, by the identity of their data set."""


class _Unfamiliar(Exception):
    """Something that pydicom must look at."""


def encoded(dataset: Dataset) -> bytes:
    """The elements in the order of their tags, sequences and items of defined length.

    Raises what pydicom's writer raises where a value does not fit its representation.
    """
    try:
        return _elements(dataset, {})
    except _Unfamiliar:
        return _by_pydicom(dataset)


def _by_pydicom(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _elements(dataset: Dataset, known: Known) -> bytes:
    return b"".join([_element(each, known) for each in sorted(dataset.values(), key=_tag)])


def _tag(element: DataElement | RawDataElement) -> int:
    """As a plain number: tags compare themselves slowly."""
    return int(element.tag)


def _element(element: DataElement | RawDataElement, known: Known) -> bytes:
    tag, vr = int(element.tag), element.VR or ""
    encode = _ENCODERS.get(vr)
    if encode is None or element.is_raw or (tag == CHARACTER_SET and element.value != UTF8):
        raise _Unfamiliar
    value = encode(element.value, vr, known)
    if vr in _LONG:
        return pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value)) + value
    if len(value) > LONGEST:
        raise _Unfamiliar
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _text(value: Any, vr: str, _known: Known) -> bytes:
    """One value or several, of an even number of bytes."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        raise _Unfamiliar
    several = not isinstance(value, str) and hasattr(value, "append")
    text = ("\\".join(map(str, value)) if several else str(value)).encode()
    return text + (b"\0" if vr == "UI" else b" ") if len(text) % 2 else text


def _numbers(value: Any, vr: str, _known: Known) -> bytes:
    if value is None or value == "":
        return b""
    values = value if hasattr(value, "append") else (value,)
    return pack(f"<{len(values)}{NUMBERS[vr]}", *values)


def _tags(value: Any, _vr: str, _known: Known) -> bytes:
    values = value if hasattr(value, "append") else (value,)
    return b"".join(pack("<HH", int(tag) >> 16, int(tag) & 0xFFFF) for tag in values)


def _octets(value: Any, _vr: str, _known: Known) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, bytes):
        raise _Unfamiliar
    return value + b"\0" if len(value) % 2 else value


def _items(value: Any, _vr: str, known: Known) -> bytes:
    return b"".join([_item(item, known) for item in value])


def _item(item: Dataset, known: Known) -> bytes:
    found = known.get(id(item))
    if found is None:
        content = _elements(item, known)
        found = known[id(item)] = ITEM + pack("<L", len(content)) + content
    return found


_ENCODERS: Mapping[str, Callable[[Any, str, Known], bytes]] = {
    **dict.fromkeys((*SHORT_TEXT, *LONG_TEXT), _text),
    **dict.fromkeys(NUMBERS, _numbers),
    **dict.fromkeys(OCTETS, _octets),
    "AT": _tags,
    "SQ": _items,
}
_LONG = frozenset({*LONG_TEXT, *OCTETS, "SQ"})

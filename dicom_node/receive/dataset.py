"""Structural check of a received data set, without decoding a value (PS3.5 section 7).

Every element must end inside the data set, every sequence and item must be closed, and the whole
must stay below limits that no image needs and a hostile sender would like to pass. The UIDs that
identify the instance are picked up on the way. Pixel data is stepped over, not read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import NoReturn

from pydicom._dicom_dict import DicomDictionary

from dicom_node.domain.errors import DatasetMismatch, InvalidUID, UnreadableDataset

Bytes = bytes | bytearray | memoryview

MAX_ELEMENTS = 100_000
MAX_ITEMS = 100_000
MAX_DEPTH = 32
UNDEFINED = 0xFFFFFFFF
LONGEST_UID, LONGEST_TEXT = 64, 1024
"""The second: with padding, and of the character sets, too; more is never copied."""

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
WANTED = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})
SPECIFIC_CHARACTER_SET = 0x00080005
READ = WANTED | {SPECIFIC_CHARACTER_SET}
READ_ELEMENTS = frozenset(tag & 0xFFFF for tag in READ)
TEXT = frozenset({None, b"CS", b"LO", b"SH", b"UI", b"UN"})
"""Value representations in which UIDs and the character set may come."""
ENCAPSULATED_VRS = frozenset({None, b"OB", b"OW"})
DELIMITERS = 0xFFFE
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010

LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
        b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip
_UID = re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*").fullmatch
_SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs that a data set says of itself."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    padded: bool = False
    """Whether a UID had padding beyond the one NUL that PS3.5 allows."""


def identify(data: Bytes, transfer_syntax_uid: str, *, implicit: bool, little: bool) -> Identity:
    """Check the structure of a whole data set and return who it says it is.

    Raises ``UnreadableDataset`` with the codes NO_DATASET, UNPARSEABLE, TRUNCATED, LENGTH_OVERRUN,
    NO_DELIMITER, DEPTH_LIMIT, ITEM_LIMIT, ELEMENT_LIMIT; ``DatasetMismatch`` (UID_MISSING);
    ``InvalidUID`` (UID_INVALID).
    """
    return identified(Walk(b"", implicit, little), data, 0, transfer_syntax_uid)


def identified(walk: "Walk", data: Bytes, position: int, transfer_syntax_uid: str) -> Identity:
    """As ``identify``, by a walk that has come to this position of the data set."""
    if not len(data):
        _refuse("NO_DATASET", "the data set is empty")
    walk.data = data
    walk.elements(position, len(data), 0, undefined=False)
    return identity_of(walk.uids, transfer_syntax_uid)


def identity_of(found: Mapping[int, bytes], transfer_syntax_uid: str) -> Identity:
    """Of the UIDs as they came. Raises ``DatasetMismatch``, ``InvalidUID``."""
    if WANTED - found.keys():
        why = "a UID of the instance is missing; the sender must add it"
        raise DatasetMismatch(why, code="UID_MISSING")
    uids = {tag: checked_uid(raw) for tag, raw in found.items()}
    padded = any(map(_is_padded, found.values()))
    return Identity(
        uids[STUDY_INSTANCE_UID],
        uids[SERIES_INSTANCE_UID],
        uids[SOP_INSTANCE_UID],
        uids[SOP_CLASS_UID],
        transfer_syntax_uid,
        padded,
    )


def check_structure(data: Bytes, *, implicit: bool, little: bool) -> tuple[int, int]:
    """Check the structure of a data set that is no instance; how many elements and items it has.

    Raises ``UnreadableDataset``.
    """
    walk = Walk(data, implicit, little)
    walk.elements(0, len(data), 0, undefined=False)
    return walk.count, walk.items_seen


@lru_cache(maxsize=256)
def checked_uid(raw: bytes) -> str:
    """A UID without its padding, or ``InvalidUID`` (PS3.5 section 9.1)."""
    plain = raw.rstrip(b"\0 ")
    if len(plain) > LONGEST_UID or not _UID(plain):
        raise InvalidUID("a UID breaks PS3.5 section 9.1; the sender must correct it")
    return plain.decode("ascii")


def _is_padded(raw: bytes) -> bool:
    """More than the one NUL that makes the length even (PS3.5 section 9.1)."""
    return raw.endswith((b" ", b"\0\0"))


def _refuse(code: str, why: str) -> NoReturn:
    raise UnreadableDataset(f"{why}; the sender must correct the data set", code=code)


class Walk:
    """One pass over the elements; positions are bytes from the start of the data set.

    One of data that are not whole ends before the pixel data.
    """

    def __init__(self, data: Bytes, implicit: bool, little: bool, *, is_whole: bool = True) -> None:
        self.data = data
        self.implicit = implicit
        self.is_whole = is_whole
        self.native_end = 0
        """Of pixel data that go beyond the data that there are, where their length says it."""
        self.items_at = 0
        """Where the first item of encapsulated pixel data begins that go beyond them."""
        order = "<" if little else ">"
        self.header = Struct(f"{order}HHI" if implicit else f"{order}HH2sH").unpack_from
        self.tag = Struct(f"{order}HHI").unpack_from
        self.length = Struct(f"{order}I").unpack_from
        self.count = 0
        self.items_seen = 0
        self.uids: dict[int, bytes] = {}

    def elements(  # noqa: C901 - one loop, for it runs over every element of every image
        self, position: int, end: int, depth: int, *, undefined: bool
    ) -> int:
        """Walk elements up to ``end``, or to an item delimiter where the length is undefined."""
        data, count = self.data, 0
        header, implicit, length_at = self.header, self.implicit, self.length
        while position < end:
            if position + 8 > end:
                _refuse("TRUNCATED", "the last element has no room for its header")
            if implicit:
                group, element, length = header(data, position)
                vr, value = None, position + 8
            else:
                group, element, vr, length = header(data, position)
                value = position + 8
            if group == DELIMITERS:
                if element != ITEM_END & 0xFFFF or not undefined:
                    _refuse("UNPARSEABLE", "an item or delimiter stands where an element should")
                self._count(count)
                return position + 8
            count += 1
            if count > MAX_ELEMENTS:
                _refuse("ELEMENT_LIMIT", f"the data set has over {MAX_ELEMENTS} elements")
            if vr not in SHORT_VRS:
                tag = group << 16 | element
                if vr is not None:
                    if vr not in LONG_VRS:
                        _refuse("UNPARSEABLE", "an element has no value representation of PS3.5")
                    if position + 12 > end:
                        _refuse("TRUNCATED", "the last element has no room for its length")
                    (length,) = length_at(data, position + 8)
                    value = position + 12
                if value + length > end and tag == PIXEL_DATA and not (depth or self.is_whole):
                    self._count(count)
                    self._ends_early(vr, value, length)
                    return position
                if length == UNDEFINED or vr == b"SQ" or (implicit and tag in _SEQUENCES):
                    position = self._nested(tag, vr, value, length, end, depth)
                    continue
            position = value + length
            if position > end:
                _overrun(group << 16 | element, depth, value, end)
            if element in READ_ELEMENTS and (tag := group << 16 | element) in READ:
                if vr not in TEXT:
                    _refuse("UNPARSEABLE", "a UID or the character set is no text")
                text = data[value:position] if length <= LONGEST_TEXT else b""  # which is no UID
                self._note(tag, bytes(text), length, depth)
        if undefined:
            _refuse("NO_DELIMITER", "an item of undefined length is not closed")
        self._count(count)
        return position

    def _ends_early(self, vr: bytes | None, value: int, length: int) -> None:
        """Whoever goes on does so at this element again."""
        self.count -= 1
        if length == UNDEFINED and vr in ENCAPSULATED_VRS:
            self.items_at = value
        elif length != UNDEFINED and vr != b"SQ":
            self.native_end = value + length

    def _note(self, tag: int, raw: bytes, length: int, depth: int) -> None:
        if tag == SPECIFIC_CHARACTER_SET:
            if length > LONGEST_TEXT or b"\0" in raw.rstrip(b"\0 "):
                _refuse("UNPARSEABLE", "the character set has no name that could be one")
        elif not depth:
            if tag in self.uids:
                _refuse("UNPARSEABLE", "a UID of the instance is given twice")
            self.uids[tag] = raw

    def _count(self, elements: int) -> None:
        self.count += elements
        if self.count > MAX_ELEMENTS:
            _refuse("ELEMENT_LIMIT", f"the data set has over {MAX_ELEMENTS} elements")

    def _nested(
        self, tag: int, vr: bytes | None, value: int, length: int, end: int, depth: int
    ) -> int:
        """Step over a sequence, or over encapsulated pixel data; returns where it ends."""
        if depth >= MAX_DEPTH:
            _refuse("DEPTH_LIMIT", f"sequences are nested over {MAX_DEPTH} deep")
        stop = end if length == UNDEFINED else value + length
        if stop > end:
            _overrun(tag, depth, value, end)
        if tag == PIXEL_DATA:
            if vr not in ENCAPSULATED_VRS:
                _refuse("UNPARSEABLE", "encapsulated pixel data is neither OB nor OW")
            return self._fragments(value, stop)
        if vr == b"UN" and not self.implicit:
            return self._unknown(value, stop, length, depth)
        return self._items(value, stop, depth, undefined=length == UNDEFINED)

    def _unknown(self, value: int, stop: int, length: int, depth: int) -> int:
        """UN of undefined length holds implicit VR little endian items (PS3.5 section 6.2.2)."""
        inner = Walk(self.data, implicit=True, little=True)
        inner.count, inner.items_seen = self.count, self.items_seen
        position = inner._items(value, stop, depth, undefined=length == UNDEFINED)
        self.count, self.items_seen = inner.count, inner.items_seen
        return position

    def _items(self, position: int, stop: int, depth: int, *, undefined: bool) -> int:
        while position < stop:
            if position + 8 > stop:
                _refuse("TRUNCATED", "a sequence ends inside an item's header")
            group, element, length = self.tag(self.data, position)
            tag = group << 16 | element
            position += 8
            if tag == SEQUENCE_END and undefined:
                return position
            if tag != ITEM:
                _refuse("UNPARSEABLE", "a sequence holds something else than items")
            self.items_seen += 1
            if self.items_seen > MAX_ITEMS:
                _refuse("ITEM_LIMIT", f"the data set has over {MAX_ITEMS} items")
            open_end = length == UNDEFINED
            if not open_end and position + length > stop:
                _refuse("LENGTH_OVERRUN", "an item is longer than its sequence")
            limit = stop if open_end else position + length
            position = self.elements(position, limit, depth + 1, undefined=open_end)
        if undefined:
            _refuse("NO_DELIMITER", "a sequence of undefined length is not closed")
        return position

    def _fragments(self, position: int, stop: int) -> int:
        """Encapsulated pixel data: items of defined length up to the delimiter (PS3.5 A.4)."""
        while position + 8 <= stop:
            group, element, length = self.tag(self.data, position)
            tag = group << 16 | element
            position += 8
            if tag == SEQUENCE_END:
                return position
            self.items_seen += 1
            if tag != ITEM or length == UNDEFINED:
                _refuse(
                    "UNPARSEABLE", "encapsulated pixel data holds something else than fragments"
                )
            if self.items_seen > MAX_ITEMS:
                _refuse("ITEM_LIMIT", f"the data set has over {MAX_ITEMS} items")
            position += length
        if position > stop:
            _refuse("LENGTH_OVERRUN", "a fragment is longer than the data set")
        _refuse("NO_DELIMITER", "encapsulated pixel data is not closed")


def _overrun(tag: int, depth: int, value: int, end: int) -> NoReturn:
    """An element that reaches beyond its end: cut off, or lying about its length."""
    if tag >= PIXEL_DATA and not depth and value < end:
        _refuse("TRUNCATED", "the last element is cut off")
    _refuse("LENGTH_OVERRUN", "an element is longer than what holds it")

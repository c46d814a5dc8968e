"""What comes before the pixel data, checked while these still come."""

from collections.abc import Callable
from typing import Any

from dicom_node.domain.errors import UnreadableDataset
from dicom_node.receive.dataset import (
    ITEM,
    MAX_ITEMS,
    SEQUENCE_END,
    UNDEFINED,
    Bytes,
    Identity,
    Walk,
    identified,
    identity_of,
)

HEADER = 8
"""Bytes of an item's tag and length (PS3.5 section 7.5)."""


class Head:
    """Of a data set that comes in fragments. ``more`` takes all but the first.

    It says only that all is well, or who the instance is: what is wrong is found, with its code,
    by the walk over the whole data set.
    """

    def __init__(self, first: Bytes, *, implicit: bool, little: bool) -> None:
        self._walk = Walk(first, implicit, little, is_whole=False)
        self._position = 0
        try:
            self._position = self._walk.elements(0, len(first), 0, undefined=False)
        except UnreadableDataset:
            self._walk = Walk(b"", implicit, little)
        self._walk.data, self._walk.is_whole = b"", True
        self._size = 0
        self._items = None
        if self._walk.items_at:
            self._items = _Items(self._walk.tag, self._walk.items_at, self._walk.items_seen)
        self.more(first)

    def more(self, fragment: Bytes) -> None:
        """Look at the next fragment."""
        if self._items is not None and not (self._items.end or self._items.broken):
            self._items.more(fragment, self._size)
        self._size += len(fragment)

    @property
    def is_enough(self) -> bool:
        """Whether all that still comes seems to be pixel data."""
        return self._walk.native_end > 0 or (self._items is not None and not self._items.broken)

    def is_all(self, size: int) -> bool:
        """Whether the pixel data end the data set of so many bytes, so that no more is read."""
        end = self._walk.native_end if self._items is None else self._items.end
        return end == size > 0

    def identify(self, data: Bytes | None, transfer_syntax_uid: str) -> Identity:
        """As ``dataset.identify``, of the whole data set; of none where this ``is_all``."""
        if data is None:
            return identity_of(self._walk.uids, transfer_syntax_uid)
        return identified(self._walk, data, self._position, transfer_syntax_uid)


class _Items:
    """Steps from item to item of encapsulated pixel data (PS3.5 A.4) while they come."""

    def __init__(self, tag: Callable[..., tuple[Any, ...]], begin: int, seen: int) -> None:
        self._tag = tag
        self._next = begin
        self._rest = b""
        """Of an item's header, the bytes that came before."""
        self._seen = seen
        self.end = 0
        """Behind the delimiter, once it has come."""
        self.broken = False

    def more(self, fragment: Bytes, start: int) -> None:
        stop = start + len(fragment)
        while self._next + HEADER <= stop and not (self.end or self.broken):
            at = self._next - start
            if at < 0:
                fragment_begin = bytes(fragment[: HEADER - len(self._rest)])
                self._step(*self._tag(self._rest + fragment_begin))
                self._rest = b""
            else:
                self._step(*self._tag(fragment, at))
        if self._next < stop and not (self.end or self.broken):
            self._rest += bytes(fragment[max(0, self._next - start) :][:HEADER])

    def _step(self, group: int, element: int, length: int) -> None:
        tag = group << 16 | element
        self._seen += 1
        if tag == SEQUENCE_END:
            self.end = self._next + HEADER
        elif tag != ITEM or length == UNDEFINED or self._seen > MAX_ITEMS:
            self.broken = True
        self._next += HEADER + length

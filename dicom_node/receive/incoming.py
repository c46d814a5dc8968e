"""The instance that an association is receiving: in memory, or in its pack already."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from struct import Struct
from threading import Lock

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused
from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.receive.pack import Record, mapped
from dicom_node.receive.packs import Growing, Packs
from dicom_node.store import FULL

IN_MEMORY = 1 << 20
"""More than that is written to its pack as it comes, whatever the receiver would like."""
MOST_COLLECTED = 24 << 20
"""In the memory of all associations together; what comes beyond that is written as it comes."""
AT_ONCE = 64 << 10
"""So much is worth to be written while more comes."""
HASHED_AT_ONCE = 256 << 10
"""Larger instances are hashed behind the answers, side by side with what comes next."""
MOST_BYTES = 2 << 30
"""Larger instances are refused."""
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_PREFIX = bytes(128) + b"DICM" + _SHORT.pack(2, 0x0000, b"UL", 4)
NOTHING = memoryview(bytearray())


class Room:
    """What the associations of a listener may still collect in memory, in bytes. For any thread."""

    def __init__(self) -> None:
        self.left = MOST_COLLECTED
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Whether there is as much; then it is taken."""
        with self._lock:
            if size > self.left:
                return False
            self.left -= size
        return True

    def give(self, size: int) -> None:
        """It is needed no more."""
        with self._lock:
            self.left += size

    @property
    def is_tight(self) -> bool:
        """Whether nobody should keep what is not needed at present."""
        return self.left < MOST_COLLECTED // 2


class Incoming:
    """Collects the fragments of one data set after the other.

    ``as_it_comes``: whether the next one is to be written to its pack fragment by fragment, while
    the sender sends. Then its pack is nobody else's for as long, and a sync of its own.
    """

    def __init__(
        self,
        packs: Packs,
        as_it_comes: Callable[[], bool] = lambda: False,
        room: Room | None = None,
    ) -> None:
        self._packs = packs
        self._room = room or Room()
        self._as_it_comes = as_it_comes
        self._buffer = NOTHING
        self._whole = NOTHING
        """An instance of one fragment, where the connection has it."""
        self._growing: Growing | None = None
        self.size = 0
        self.refusal: Refused | None = None
        """Why what comes is thrown away; the sender hears it at the end."""
        self.head = b""
        """Preamble and file meta information."""

    def begin(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
        """A data set of this kind follows."""
        self.discard()
        if self._room.is_tight:
            self.let_go()
        self.head = file_head(sop_class, sop_instance, transfer_syntax)

    def write(self, fragment: memoryview, *, last: bool = False, is_known: bool = False) -> None:
        """Take the next fragment; an I/O error becomes the ``refusal``.

        One that is first and last is not copied: it must stay as it is until ``keep`` is over.
        ``is_known``: nobody need look for anything in what comes, so that it may go to its pack.
        """
        end = self.size + len(fragment)
        if self.refusal is None and end > MOST_BYTES:
            self._refuse(OutOfSpace("the instance is over 2 GiB", code="INSTANCE_SIZE"))
        if self.refusal is None:
            if last and not self.size and self._growing is None:
                self._whole = fragment
            elif self._is_written(end, more=is_known and not last) or not self._has_room(end):
                self._spill(fragment)
            else:
                self._buffer[self.size : end] = fragment
        self.size = end

    def _is_written(self, end: int, *, more: bool) -> bool:
        at_once = more and end > AT_ONCE and self._growing is None and self._as_it_comes()
        return at_once or self._growing is not None or end > IN_MEMORY

    def _has_room(self, end: int) -> bool:
        """Whether so much may be in memory; then there is a buffer for it."""
        if len(self._buffer) >= end:
            return True
        size = min(IN_MEMORY, max(64 << 10, 2 * end))
        if not self._room.take(size - len(self._buffer)):
            return False
        larger = memoryview(bytearray(size))
        larger[: self.size] = self._buffer[: self.size]
        self._buffer = larger
        return True

    def _spill(self, fragment: memoryview) -> None:
        try:
            if self._growing is None:
                self._growing = self._packs.grow()
                self._growing.write([self.head, self._buffer[: self.size], fragment])
                faults.point("incoming.spilled")
                if self._room.is_tight:
                    self.let_go()
            else:
                self._growing.write([fragment])
        except OSError as error:
            self._refuse(as_refusal(error))

    def _refuse(self, refusal: Refused) -> None:
        self._cancel()
        self.refusal = refusal

    @contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """The whole data set, to look at inside the block."""
        if self._growing is None:
            yield self._whole or self._buffer[: self.size]
            return
        begin = self._growing.offset + len(self.head)
        with mapped(self._growing.pack.handle, begin, self.size) as view:
            yield view

    def keep(self, about: bytes) -> Record:
        """Write it to a pack, if it is not there yet. Raises ``OSError``; then nothing is kept."""
        if self._growing is None:
            data = self._whole or self._buffer[: self.size]
            return self._packs.append(about, [self.head, data])
        try:
            record = self._growing.finish(about)
        except OSError:
            self._cancel()
            raise
        self._growing = None
        return record

    def sha256(self) -> str | None:
        """Of the DICOM file, where it is small and still at hand."""
        if not self._whole or self.size > HASHED_AT_ONCE:
            return None
        digest = hashlib.sha256(self.head)
        digest.update(self._whole)
        return digest.hexdigest()

    def discard(self) -> None:
        """Forget what was received."""
        self._cancel()
        self._whole = NOTHING
        self.size = 0
        self.refusal = None

    def let_go(self) -> None:
        """Of the memory in which instances are collected, until it is needed again."""
        self._room.give(len(self._buffer))
        self._buffer = NOTHING

    def _cancel(self) -> None:
        if self._growing is not None:
            self._growing.cancel()
        self._growing = None


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1), the same for a resend."""
    before, after = _around_instance(sop_class, transfer_syntax)
    instance = _text(0x0003, b"UI", sop_instance)
    length = len(before) + len(instance) + len(after)
    return b"".join((_PREFIX, length.to_bytes(4, "little"), before, instance, after))


@lru_cache(maxsize=64)
def _around_instance(sop_class: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    before = _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1" + _text(0x0002, b"UI", sop_class)
    ours = (
        _text(0x0010, b"UI", transfer_syntax),
        _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    )
    return before, b"".join(ours)


def _text(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) % 2:
        raw += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(2, element, vr, len(raw)) + raw


def as_refusal(error: OSError) -> Refused:
    """What a sender hears of an error of the file system."""
    if error.errno in FULL:
        return OutOfSpace("the store is full")
    return ProcessingFailure("the store failed to write")

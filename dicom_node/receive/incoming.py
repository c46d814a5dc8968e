"""The instance that an association is receiving: in memory while it is small, else in its pack."""

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused
from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.receive.packs import LONE_START, LonePack, Packs, Record
from dicom_node.store import FULL

IN_MEMORY = 1 << 20
MOST_BYTES = 2 << 30
"""Larger instances are refused."""
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")


class Incoming:
    """Collects the fragments of one data set after the other."""

    def __init__(self, packs: Packs) -> None:
        self._packs = packs
        self._buffer = memoryview(bytearray())
        self._pack: LonePack | None = None
        self._digest = hashlib.sha256()
        self._is_large = False
        self.size = 0
        self.refusal: Refused | None = None
        """Why what comes is thrown away; the sender hears it at the end."""
        self.head = b""
        """Preamble and file meta information."""

    def begin(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
        """A data set of this kind follows."""
        self.discard()
        self._is_large = False
        self.head = file_head(sop_class, sop_instance, transfer_syntax)

    def write(self, fragment: memoryview) -> None:
        """Take the next fragment; an I/O error becomes the ``refusal``."""
        end = self.size + len(fragment)
        if self.refusal is None and end > MOST_BYTES:
            self._refuse(OutOfSpace("the instance is over 2 GiB", code="INSTANCE_SIZE"))
        if self.refusal is None:
            if self._pack is None and end <= IN_MEMORY:
                if len(self._buffer) < end:
                    self._grow(end)
                self._buffer[self.size : end] = fragment
            else:
                self._spill(fragment)
        self.size = end

    def _grow(self, end: int) -> None:
        larger = memoryview(bytearray(min(IN_MEMORY, max(64 << 10, 2 * end))))
        larger[: self.size] = self._buffer[: self.size]
        self._buffer = larger

    def _spill(self, fragment: memoryview) -> None:
        try:
            if self._pack is None:
                self._pack = self._packs.lone()
                self._is_large, self._digest = True, hashlib.sha256()
                self._put(self._pack, self.head)
                faults.point("incoming.spilled")
                self._put(self._pack, self._buffer[: self.size])
            self._put(self._pack, fragment)
        except OSError as error:
            self._refuse(as_refusal(error))

    def _put(self, pack: LonePack, data: memoryview | bytes) -> None:
        self._digest.update(data)
        pack.write(data)

    def _refuse(self, refusal: Refused) -> None:
        self._remove_pack()
        self.refusal = refusal

    @contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """The whole data set, to look at inside the block."""
        if self._pack is None:
            yield self._buffer[: self.size]
            return
        with mmap.mmap(self._pack.handle, self._pack.end, prot=mmap.PROT_READ) as mapped:
            whole = memoryview(mapped)
            view = whole[LONE_START + len(self.head) :]
            try:
                yield view
            finally:
                view.release()
                whole.release()

    def keep(self, about: bytes) -> Record:
        """Write it to a pack, if it is not there yet. Raises ``OSError``; then nothing is kept."""
        if self._pack is None:
            return self._packs.append(about, [self.head, self._buffer[: self.size]])
        try:
            record = self._pack.finish(about)
        except OSError:
            self._remove_pack()
            raise
        self._pack = None
        return record

    def sha256(self) -> str:
        """Of the DICOM file; only until the next one begins."""
        if not self._is_large:
            self._digest = hashlib.sha256(self.head)
            self._digest.update(self._buffer[: self.size])
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Forget what was received."""
        self._remove_pack()
        self.size = 0
        self.refusal = None

    def _remove_pack(self) -> None:
        if self._pack is not None:
            self._pack.remove()
        self._pack = None


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1), the same for a resend."""
    group = b"".join(
        (
            _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _text(0x0002, b"UI", sop_class),
            _text(0x0003, b"UI", sop_instance),
            _text(0x0010, b"UI", transfer_syntax),
            _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    length = _SHORT.pack(2, 0x0000, b"UL", 4) + len(group).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + group


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

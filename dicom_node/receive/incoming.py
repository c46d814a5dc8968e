"""The instance that an association is receiving: in memory while it is small, else in a file."""

import errno
import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused
from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.store import FULL, InstanceStore, Kept, sync_folder

IN_MEMORY = 1 << 20
WHOLE = ".whole"
"""Suffix of a file that a later process may take over if its size is the one before the suffix."""
MOST_BYTES = 2 << 30
"""Larger instances are refused."""
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")


class Incoming:
    """Collects the fragments of one data set after the other."""

    def __init__(self, store: InstanceStore) -> None:
        self._store = store
        self._buffer = memoryview(bytearray())
        self._file: str | None = None
        self._handle = -1
        self._spilled = False
        self._digest = hashlib.sha256()
        self.size = 0
        self.refusal: Refused | None = None
        """Why what comes is thrown away; the sender hears it at the end."""
        self.head = b""
        """Preamble and file meta information."""

    def begin(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
        """A data set of this kind follows."""
        self.discard()
        self._spilled = False
        self.head = file_head(sop_class, sop_instance, transfer_syntax)

    def write(self, fragment: memoryview) -> None:
        """Take the next fragment; an I/O error becomes the ``refusal``."""
        end = self.size + len(fragment)
        if self.refusal is None and end > MOST_BYTES:
            self._refuse(OutOfSpace("the instance is over 2 GiB", code="INSTANCE_SIZE"))
        if self.refusal is None:
            if self._file is None and end <= IN_MEMORY:
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
            if self._file is None:
                self._handle, self._file = self._store.new_file()
                self._digest = hashlib.sha256()
                self._put(memoryview(self.head))
                faults.point("incoming.spilled")
                self._put(self._buffer[: self.size])
            self._put(fragment)
        except OSError as error:
            self._refuse(as_refusal(error))

    def _put(self, data: memoryview) -> None:
        self._digest.update(data)
        while data:
            data = data[os.write(self._handle, data) :]

    def _refuse(self, refusal: Refused) -> None:
        self._remove_file()
        self.refusal = refusal

    @contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """The whole data set, to look at inside the block."""
        if self._file is None:
            yield self._buffer[: self.size]
            return
        size = len(self.head) + self.size
        with mmap.mmap(self._handle, size, prot=mmap.PROT_READ) as mapped:
            whole = memoryview(mapped)
            view = whole[len(self.head) :]
            try:
                yield view
            finally:
                view.release()
                whole.release()

    def finished_file(self, *, durable: bool) -> tuple[str, Kept] | None:
        """The file of a large instance, handed over; none if it is in memory.

        Raises ``OutOfSpace`` or ``ProcessingFailure`` when it cannot be made durable.
        """
        if self._file is None:
            return None
        file, kept = self._file, Kept(self._digest.hexdigest(), self.file_size)
        try:
            if durable:
                os.fsync(self._handle)
                faults.point("incoming.synced")
                sync_folder(self._store.incoming)
        except OSError as error:
            self._remove_file()
            raise as_refusal(error) from error
        os.close(self._handle)
        self._spilled, self._file, self._handle = True, None, -1
        return file, kept

    def whole_file(self) -> str:
        """The instance as a file that a later process may take over, not synced.

        Raises ``OutOfSpace`` or ``ProcessingFailure``.
        """
        spilled = self._file is not None
        try:
            whole = self._rename_whole(self._file) if self._file else self._write_whole()
        except OSError as error:
            self._remove_file()
            raise as_refusal(error) from error
        os.close(self._handle)
        self._spilled, self._file, self._handle = spilled, None, -1
        return whole

    def _write_whole(self) -> str:
        self._handle, self._file = self._store.new_file(f".{self.file_size}{WHOLE}")
        if os.writev(self._handle, self.parts()) < self.file_size:
            raise OSError(errno.ENOSPC, "not all of the instance was written")
        return self._file

    def _rename_whole(self, file: str) -> str:
        whole = f"{file}.{self.file_size}{WHOLE}"
        Path(file).rename(whole)
        return whole

    @property
    def file_size(self) -> int:
        """Bytes of the DICOM file."""
        return len(self.head) + self.size

    def sha256(self) -> str:
        """Of the DICOM file; of a small instance only until the next one begins."""
        if self._spilled:
            return self._digest.hexdigest()
        digest = hashlib.sha256(self.head)
        digest.update(self._buffer[: self.size])
        return digest.hexdigest()

    def parts(self) -> list[memoryview | bytes]:
        """The DICOM file of a small instance."""
        return [self.head, self._buffer[: self.size]]

    def discard(self) -> None:
        """Forget what was received."""
        self._remove_file()
        self.size = 0
        self.refusal = None

    def _remove_file(self) -> None:
        if self._file is not None:
            os.close(self._handle)
            Path(self._file).unlink(missing_ok=True)
        self._file, self._handle = None, -1


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

"""A pack: a file to which instances are appended as they arrive, and in which they stay.

It is a header and records behind it. A record is a header, a JSON object (who the instance is, who
sent it) and the instance as a DICOM file: one sync makes the bytes and what is known of them
durable together, and nothing is written twice. A checksum tells a record that was cut off, which
nobody was told about, from a whole one; the mark of its pack tells it from what a sender made up
(``salvage`` says how). A full pack whose records all have their rows in the ledger is sealed:
nothing need be recovered from it, as long as the ledger still has as many rows of it as the seal
says.
"""

import errno
import hashlib
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Self

from xxhash import xxh3_64

from dicom_node import faults
from dicom_node.receive.room import erase, reserve
from dicom_node.store import EndsEarly, StoredFile, sync_folder

Bytes = bytes | bytearray | memoryview
PACK = Struct("<8s4sI8sQ")
"""Magic, state, number of rows, mark, and a checksum of these."""
RECORD = Struct("<4s8sIQQ")
"""Magic, mark of the pack, sizes of the JSON object and of the instance, checksum of both."""
MAGIC, OPEN, SEALED, RECORD_MAGIC = b"DCMPACK2", b"OPEN", b"SEAL", b"INST"
ALIGN = 8
ROOM = 1024
"""Of the header of an instance that is written as it comes; no header and object take more."""
SUFFIX = ".pack"
AHEAD = 4 << 20
"""Room taken at once: a write into it costs half (the system finds it no blocks, byte by byte), and
a sync need not write where the file ends, too."""


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a pack."""

    state: bytes
    mark: bytes
    count: int = 0
    """How many rows named it when it was sealed."""

    def packed(self) -> bytes:
        """As it stands in the file."""
        fields = PACK.pack(MAGIC, self.state, self.count, self.mark, 0)[:-8]
        return fields + checksum([fields]).to_bytes(8, "little")

    @classmethod
    def read(cls, raw: bytes) -> Self | None:
        """The header that bytes are; none if it is damaged."""
        _, state, count, mark, _ = PACK.unpack(raw.ljust(PACK.size, b"\0"))
        head = cls(state, mark, count)
        return head if head.packed() == raw else None


@dataclass(frozen=True, slots=True)
class Record:
    """An instance in a pack."""

    pack: "Pack"
    offset: int
    """Of the instance's bytes."""
    size: int
    about: bytes
    """JSON: who the instance is, who sent it."""
    is_whole: bool = True
    """Whether its checksum is right; not, once its room was given back."""

    @property
    def is_synced(self) -> bool:
        """Whether it is on stable storage."""
        return self.offset + self.size <= self.pack.synced

    @property
    def file(self) -> StoredFile:
        """Where it can be read."""
        return StoredFile(self.pack.path, self.offset, self.size)

    def sha256(self) -> str:
        """Of its bytes, while the pack is open. Raises ``OSError``."""
        with mapped(self.pack.handle, self.offset, self.size) as content:
            return hashlib.sha256(content).hexdigest()


class Pack:
    """One file. ``waiting`` counts the records whose rows are not written yet.

    ``ahead``: bytes of room that are taken at once.
    """

    def __init__(
        self,
        path: Path,
        handle: int,
        end: int,
        *,
        mark: bytes,
        is_new: bool,
        is_sealed: bool = False,
        ahead: int = 0,
    ) -> None:
        self.path = path
        self.handle = handle
        self.end = end
        self.mark = mark
        """Eight bytes that nobody can guess, in the header of every record."""
        self.is_sealed = is_sealed
        self.is_damaged = False
        """Its header was; of a pack that was found."""
        self.waiting = 0
        self.synced = 0
        """Up to here it is on stable storage."""
        self.full = False
        self.begun = time.monotonic()
        self._ahead = ahead
        self._reserved = end
        """Where the room that was taken ends."""
        self._kept = 0
        self._is_new = is_new

    @property
    def name(self) -> str:
        """Of the pack within the store."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return self.end == PACK.size

    @classmethod
    def begin(cls, path: Path, *, ahead: int = 0) -> Self:
        """Make the file."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        mark = os.urandom(8)
        pack = cls(path, handle, PACK.size, mark=mark, is_new=True, ahead=ahead)
        try:
            if os.pwrite(handle, Head(OPEN, mark).packed(), 0) < PACK.size:
                raise OSError(errno.ENOSPC, "there is no room for a pack")
        except OSError:
            pack.remove()
            raise
        faults.point("pack.begun")
        return pack

    def append(self, about: bytes, parts: Sequence[Bytes]) -> Record:
        """Write a record behind the last one; not durable before ``sync``."""
        size = sum(len(part) for part in parts)
        digest = checksum([*parts, about])
        header = RECORD.pack(RECORD_MAGIC, self.mark, len(about), size, digest)
        try:
            self.write([header, about, *parts], self.end)
        except OSError:
            self.cut()
            raise
        record = Record(self, self.end + len(header) + len(about), size, about)
        self.end = aligned(record.offset + size)
        self.waiting += 1
        return record

    def write(self, parts: Sequence[Bytes], offset: int) -> None:
        """Write all of it, or raise ``OSError``: a full disk takes what fits and says nothing."""
        wanted = sum(len(part) for part in parts)
        if self._ahead and offset + wanted > self._reserved:
            self._reserve(offset + wanted)
        if os.pwritev(self.handle, parts, offset) < wanted:
            raise OSError(errno.ENOSPC, "not all of it was written")

    def _reserve(self, end: int) -> None:
        """Not every file system can, and none must: the write will tell."""
        size = -(-(end - self._reserved) // self._ahead) * self._ahead
        reserve(self.handle, self._reserved, size)
        self._reserved += size

    def sync(self) -> None:
        """Put all records on stable storage, and the file's name."""
        end = self.end
        os.fdatasync(self.handle)
        if self._is_new:
            sync_folder(self.path.parent)
            self._is_new = False
        self.synced = end

    def cut(self) -> None:
        """Nothing stays behind the last record: a sender's bytes must not pass for one."""
        try:
            os.ftruncate(self.handle, self.end)
            self._reserved = self.end
        except OSError:
            self.full = True

    def settle(self, record: Record, *, keep: bool) -> None:
        """A record has its row, or, not kept, needs none: then its room is given back at once, or
        one who finds it after its study was removed would take it for a new image."""
        self.waiting -= 1
        if keep:
            self._kept += 1
        else:
            self._erase(record.offset, record.size)

    def forget(self, offset: int, size: int) -> None:
        """A row that named a record names another copy now."""
        self._kept -= 1
        self._erase(offset, size)

    def _erase(self, offset: int, size: int) -> None:
        with suppress(OSError):
            erase(self.handle, offset, size)

    def seal(self) -> None:
        """Close it for good."""
        self.is_sealed = True
        if not self._kept:
            self.remove()
            return
        os.pwrite(self.handle, Head(SEALED, self.mark, self._kept).packed(), 0)
        faults.point("pack.sealed")
        if self._reserved > self.end:
            self.cut()
        os.close(self.handle)

    def remove(self) -> None:
        """Close and delete the file."""
        os.close(self.handle)
        self.path.unlink(missing_ok=True)

    def recover(self, end: int, *, waiting: int, kept: int) -> None:
        """Take over a pack that was found, and what it holds up to ``end``.

        ``waiting`` records are to be settled; ``kept`` rows name it beside these. Everything is
        written anew: after a sync that failed the system may hold bytes that the disk does not,
        and would never write them again.
        """
        self.end, self.waiting, self._kept, self.full = end, waiting, kept, True
        if self.is_sealed:
            self.synced = end
            return
        os.ftruncate(self.handle, end)
        for offset in range(0, end, 1 << 20):
            self.write([os.pread(self.handle, 1 << 20, offset)], offset)
        self.sync()


def read_head(path: Path) -> Head | None:
    """The header of a pack; none if it is damaged. Raises ``OSError``."""
    with path.open("rb") as file:
        return Head.read(file.read(PACK.size))


def named_by(path: Path) -> int | None:
    """How many rows named a pack when it was sealed; none if it is not sealed, or damaged."""
    head = read_head(path)
    return head.count if head is not None and head.state == SEALED else None


@contextmanager
def mapped(handle: int, offset: int, size: int) -> Iterator[memoryview]:
    """A part of a pack, to look at inside the block without a copy. Raises ``OSError``."""
    page = offset - offset % mmap.ALLOCATIONGRANULARITY
    length = offset - page + size
    if os.fstat(handle).st_size < page + length:
        raise EndsEarly(errno.EIO, "the pack ends before the instance does")
    with (
        mmap.mmap(handle, length, prot=mmap.PROT_READ, offset=page) as pages,
        memoryview(pages) as whole,
        whole[offset - page :] as part,
    ):
        yield part


def checksum(parts: Iterable[Bytes]) -> int:
    """Of bytes in parts."""
    digest = xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def aligned(position: int) -> int:
    """Where the next record begins."""
    return -(-position // ALIGN) * ALIGN

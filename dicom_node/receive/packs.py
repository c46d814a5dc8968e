"""Packs: files to which instances are appended as they arrive, and in which they stay.

A pack is a header and records behind it. A record is a header, a JSON object (who the instance is,
who sent it) and the instance as a DICOM file: one sync makes the bytes and what is known of them
durable together, and nothing is written twice. A checksum tells a record that was cut off, which
nobody was told about, from a whole one. A full pack whose records all have their rows in the ledger
is sealed: nothing need be recovered from it, as long as the ledger still has as many rows of it as
the seal says.

An instance may be written while it comes, behind room for its header, which is written last: until
then the records end before it. Nobody else writes to its pack meanwhile.
"""

import ctypes
import errno
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Self

from xxhash import xxh3_64

from dicom_node import faults
from dicom_node.store import EndsEarly, StoredFile, sync_folder

Bytes = bytes | bytearray | memoryview
PACK_BYTES = 64 << 20
"""A pack that has reached this size is full."""
CHUNK = 256 << 10
"""Read at once, to be hashed."""
PACK = Struct("<8s4sI")
"""Magic, state, and, once it is sealed, the number of rows that name it."""
RECORD = Struct("<4sIQQ")
MAGIC, OPEN, SEALED, RECORD_MAGIC = b"DCMPACK1", b"OPEN", b"SEAL", b"INST"
MOST_OPEN = 4
"""Packs with room that wait for more: what is not sealed is read at the next start."""
ALIGN = 8
ROOM = 1024
"""Of the header of an instance that is written as it comes."""
SUFFIX = ".pack"
EMPTY: Mapping[str, int] = {}
PUNCH_HOLE, KEEP_SIZE = 2, 1
"""Of fallocate(2)."""


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
    def file(self) -> StoredFile:
        """Where it can be read."""
        return StoredFile(self.pack.path, self.offset, self.size)

    def sha256(self) -> str:
        """Of its bytes, while the pack is open. Raises ``OSError``."""
        digest, buffer = hashlib.sha256(), memoryview(bytearray(min(self.size, CHUNK)))
        for done in range(0, self.size, CHUNK):
            chunk = buffer[: min(CHUNK, self.size - done)]
            if os.preadv(self.pack.handle, [chunk], self.offset + done) < len(chunk):
                raise EndsEarly(errno.EIO, "the pack ends before the instance does")
            digest.update(chunk)
        return digest.hexdigest()


class Pack:
    """One file. ``waiting`` counts the records whose rows are not written yet."""

    def __init__(
        self, path: Path, handle: int, end: int, *, is_new: bool, is_sealed: bool = False
    ) -> None:
        self.path = path
        self.handle = handle
        self.end = end
        self.is_sealed = is_sealed
        self.waiting = 0
        self.full = False
        self._kept = 0
        self._garbage: list[Record] = []
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
    def begin(cls, path: Path) -> Self:
        """Make the file."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        pack = cls(path, handle, PACK.size, is_new=True)
        try:
            if os.pwrite(handle, PACK.pack(MAGIC, OPEN, 0), 0) < PACK.size:
                raise OSError(errno.ENOSPC, "there is no room for a pack")
        except OSError:
            pack.remove()
            raise
        faults.point("pack.begun")
        return pack

    def append(self, about: bytes, parts: Sequence[Bytes]) -> Record:
        """Write a record behind the last one; not durable before ``sync``."""
        size = sum(len(part) for part in parts)
        header = RECORD.pack(RECORD_MAGIC, len(about), size, _checksum([*parts, about]))
        try:
            _write(self.handle, [header, about, *parts], self.end)
        except OSError:
            self.cut()
            raise
        record = Record(self, self.end + len(header) + len(about), size, about)
        self.end = _aligned(record.offset + size)
        self.waiting += 1
        return record

    def sync(self) -> None:
        """Put all records on stable storage, and the file's name."""
        os.fdatasync(self.handle)
        if self._is_new:
            sync_folder(self.path.parent)
            self._is_new = False

    def cut(self) -> None:
        """Nothing stays behind the last record: a sender's bytes must not pass for one."""
        try:
            os.ftruncate(self.handle, self.end)
        except OSError:
            self.full = True

    def settle(self, record: Record, *, keep: bool) -> None:
        """A record has its row, or, not kept, needs none."""
        self.waiting -= 1
        if keep:
            self._kept += 1
        else:
            self._garbage.append(record)

    def seal(self) -> None:
        """Close it for good; give back the room of what is not kept."""
        if not self._kept:
            self.remove()
            return
        os.pwrite(self.handle, PACK.pack(MAGIC, SEALED, self._kept), 0)
        faults.point("pack.sealed")
        for record in self._garbage:
            _punch(self.handle, record.offset, record.size)
        os.close(self.handle)

    def remove(self) -> None:
        """Close and delete the file."""
        os.close(self.handle)
        self.path.unlink(missing_ok=True)

    def recover(self) -> list[Record]:
        """The whole records of a pack that was found; of one that is not sealed, up to the first
        that is not whole.

        They are written anew: after a sync that failed the system may hold bytes that the disk
        does not, and would never write them again.
        """
        records = []
        while (record := self._read(self.end)) and (record.is_whole or self.is_sealed):
            records += [record] if record.is_whole else []
            self.end = _aligned(record.offset + record.size)
        self.waiting = len(records)
        self.full = True
        if records and not self.is_sealed:
            os.ftruncate(self.handle, self.end)
            for offset in range(0, self.end, 1 << 20):
                _write(self.handle, [os.pread(self.handle, 1 << 20, offset)], offset)
            self.sync()
        return records

    def _read(self, position: int) -> Record | None:
        header = os.pread(self.handle, RECORD.size, position)
        if len(header) < RECORD.size:
            return None
        magic, about_size, size, checksum = RECORD.unpack(header)
        if magic != RECORD_MAGIC:
            return None
        about = os.pread(self.handle, about_size, position + RECORD.size)
        start = position + RECORD.size + about_size
        if start + size > os.fstat(self.handle).st_size:
            return None
        content = StoredFile(self.path, start, size).chunks()
        is_whole = _checksum(chain(content, [about])) == checksum
        return Record(self, start, size, about, is_whole)


class Growing:
    """An instance that is written to its pack as it comes."""

    def __init__(self, pack: Pack, packs: "Packs") -> None:
        self._packs = packs
        self._digest = xxh3_64()
        self.pack = pack
        self.offset = pack.end + ROOM
        self.size = 0

    def write(self, parts: Sequence[Bytes]) -> None:
        """The next bytes. Raises ``OSError``."""
        _write(self.pack.handle, parts, self.offset + self.size)
        for part in parts:
            self._digest.update(part)
            self.size += len(part)

    def finish(self, about: bytes) -> Record:
        """Write the header; not durable before ``sync``. Raises ``OSError``."""
        about = about.ljust(ROOM - RECORD.size)
        self._digest.update(about)
        header = RECORD.pack(RECORD_MAGIC, len(about), self.size, self._digest.intdigest())
        _write(self.pack.handle, [header, about], self.pack.end)
        self.pack.end = _aligned(self.offset + self.size)
        self._packs.put_back(self.pack, records=1)
        return Record(self.pack, self.offset, self.size, about)

    def cancel(self) -> None:
        """Nothing of it stays."""
        self.pack.cut()
        self._packs.put_back(self.pack, records=0)


class Packs:
    """The packs that one process writes, in a folder that is its own.

    Any thread may append or settle. ``abandoned``: folders of processes that are not there any
    more, whose packs are recovered, too.
    """

    def __init__(
        self, folder: Path, abandoned: Sequence[Path] = (), *, pack_bytes: int = PACK_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)
        self.folder = folder
        self._abandoned = abandoned
        self._pack_bytes = pack_bytes
        self._stem = f"{time.time_ns():x}"
        self._numbers = itertools.count()
        self._open: list[Pack] = []
        """Those that have room, and that nobody writes to at present."""
        self._lock = threading.Lock()

    def recover(
        self, take: Callable[[list[Record]], None], rows: Mapping[str, int] = EMPTY
    ) -> None:
        """Hand over the records of every pack that an earlier process left unsealed, and of those
        that fewer rows name than did when they were sealed: the ledger is an older one.

        ``rows``: how many name a pack. ``take`` must have settled the records when it returns.
        """
        for path in [p for f in (self.folder, *self._abandoned) for p in f.glob(f"*{SUFFIX}")]:
            if pack := _found(path, rows):
                if records := pack.recover():
                    take(records)
                    faults.point("pack.recovered")
                elif pack.is_sealed:
                    os.close(pack.handle)
                else:
                    pack.remove()

    def append(self, about: bytes, parts: Sequence[Bytes]) -> Record:
        """Write a record. Raises ``OSError`` where it cannot be written."""
        with self._lock:
            pack = self._take()
            try:
                record = pack.append(about, parts)
            finally:
                self._release(pack)
            return record

    def grow(self) -> Growing:
        """Room for an instance that is written as it comes. Raises ``OSError``."""
        with self._lock:
            return Growing(self._take(), self)

    def put_back(self, pack: Pack, *, records: int) -> None:
        """An instance that was written as it came has ended: as a record, or not."""
        with self._lock:
            pack.waiting += records
            self._release(pack)

    def _take(self) -> Pack:
        return self._open.pop() if self._open else Pack.begin(self._next_path())

    def _release(self, pack: Pack) -> None:
        pack.full |= pack.end >= self._pack_bytes or len(self._open) >= MOST_OPEN
        if pack.is_empty:
            pack.remove()
        elif not pack.full:
            self._open.append(pack)
        elif not pack.waiting:
            pack.seal()

    def settle(self, records: Iterable[tuple[Record, bool]]) -> None:
        """These records have their rows, or, where the second of the pair is false, need none."""
        with self._lock:
            for record, keep in records:
                record.pack.settle(record, keep=keep)
                if record.pack.full and not record.pack.waiting:
                    record.pack.seal()

    def close(self) -> None:
        """Seal what is written."""
        with self._lock:
            for pack in self._open:
                if not pack.waiting:
                    pack.seal()
            self._open.clear()

    def _next_path(self) -> Path:
        return self.folder / f"{self._stem}-{next(self._numbers)}{SUFFIX}"


def named_by(path: Path) -> int | None:
    """How many rows named a pack when it was sealed; none if it is not sealed."""
    with path.open("rb") as file:
        head = file.read(PACK.size)
    magic, state, count = PACK.unpack(head.ljust(PACK.size))
    return count if (magic, state) == (MAGIC, SEALED) else None


def _found(path: Path, rows: Mapping[str, int]) -> Pack | None:
    """A pack that may hold records without rows; one whose making was cut off is deleted."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    magic, state, count = PACK.unpack(os.pread(handle, PACK.size, 0).ljust(PACK.size))
    pack = Pack(path, handle, PACK.size, is_new=False, is_sealed=state == SEALED)
    if magic != MAGIC:
        pack.remove()
        return None
    if pack.is_sealed and rows.get(pack.name, 0) >= count:
        os.close(handle)
        return None
    return pack


def _write(handle: int, parts: Sequence[Bytes], offset: int) -> None:
    """All of it; a disk that fills up takes what fits and reports no error."""
    wanted = sum(len(part) for part in parts)
    if os.pwritev(handle, parts, offset) < wanted:
        raise OSError(errno.ENOSPC, "not all of it was written")


def _checksum(parts: Iterable[Bytes]) -> int:
    digest = xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def _aligned(position: int) -> int:
    return -(-position // ALIGN) * ALIGN


def _punch(handle: int, offset: int, size: int) -> None:
    """Give back the room of a part of a file, where the file system can (fallocate(2))."""
    fallocate = ctypes.CDLL(None).fallocate
    fallocate(handle, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(size))

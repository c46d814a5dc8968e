"""The journal: one sync makes an instance's bytes and what is known of it durable, together.

Instances are appended to preallocated segment files whose blocks are written before their first
use, so that a sync has data to write and no metadata. What has been copied to the store and is in
the ledger, both on stable storage, frees its segment for the next round. After a crash every
record of every segment is copied again; that does no harm, for the store names files by content.

A record is a header, a JSON object (who the instance is, who sent it), and the instance as a DICOM
file. Its checksum tells a record that was cut off, which nobody was told about, from a whole one.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from xxhash import xxh3_64

from dicom_node import faults
from dicom_node.store import sync_folder

Bytes = bytes | bytearray | memoryview
SEGMENT_BYTES = 64 << 20
SEGMENT_HEADER = Struct("<8s8s")
RECORD = Struct("<4s8sIQQ")
SEGMENT_MAGIC, RECORD_MAGIC = b"DCMNODE1", b"INST"
ALIGN = 8
ABOUT_BYTES = 2048
"""More than the JSON of any record takes."""
ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Entry:
    """An instance in the journal."""

    segment: "Segment"
    offset: int
    """Of the instance's bytes in the segment."""
    size: int
    about: bytes
    """JSON: who the instance is, who sent it."""


class Segment:
    """One file of the journal. ``open_entries`` counts what is not yet in store and ledger."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.open_entries = 0
        self.full = False
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.epoch = b""
        self.end = 0

    def prepare(self) -> None:
        """Write every block once, so that later syncs have no metadata to write."""
        for offset in range(0, self.size, len(ZEROS)):
            os.pwrite(self.handle, ZEROS, offset)
        os.fsync(self.handle)
        sync_folder(self.path.parent)

    def begin(self) -> None:
        """Start the segment anew; its old records are void from the next sync on."""
        self.epoch = os.urandom(8)
        os.pwrite(self.handle, SEGMENT_HEADER.pack(SEGMENT_MAGIC, self.epoch), 0)
        self.end = SEGMENT_HEADER.size
        self.full = False
        self.open_entries = 0

    def remove(self) -> None:
        """Close and delete the file."""
        os.close(self.handle)
        self.path.unlink(missing_ok=True)

    def room_for(self, size: int) -> bool:
        """Whether a record of that many bytes fits."""
        return self.end + RECORD.size + size + ALIGN <= self.size

    def append(self, about: bytes, parts: Sequence[Bytes]) -> Entry:
        """Write a record behind the last one; not durable before ``sync``."""
        size = sum(len(part) for part in parts)
        header = RECORD.pack(RECORD_MAGIC, self.epoch, len(about), size, _checksum(about, parts))
        wanted = len(header) + len(about) + size
        written = os.pwritev(self.handle, [header, about, *parts], self.end)
        if written != wanted:
            raise OSError(f"the journal took {written} of {wanted} bytes")
        entry = Entry(self, self.end + len(header) + len(about), size, about)
        self.end += -(-wanted // ALIGN) * ALIGN
        self.open_entries += 1
        return entry

    def sync(self) -> None:
        """Put all records on stable storage."""
        os.fdatasync(self.handle)

    def entries(self) -> Iterator[Entry]:
        """The whole records that the file holds, in order, up to the first that is not whole."""
        head = os.pread(self.handle, SEGMENT_HEADER.size, 0)
        if len(head) < SEGMENT_HEADER.size or SEGMENT_HEADER.unpack(head)[0] != SEGMENT_MAGIC:
            return
        epoch, position = SEGMENT_HEADER.unpack(head)[1], SEGMENT_HEADER.size
        while entry := self._read(position, epoch):
            yield entry
            end = entry.offset + entry.size
            position += -(-(end - position) // ALIGN) * ALIGN

    def _read(self, position: int, epoch: bytes) -> Entry | None:
        header = os.pread(self.handle, RECORD.size, position)
        if len(header) < RECORD.size:
            return None
        magic, of, meta_size, size, checksum = RECORD.unpack(header)
        if magic != RECORD_MAGIC or of != epoch:
            return None
        meta = os.pread(self.handle, meta_size, position + RECORD.size)
        offset = position + RECORD.size + meta_size
        payload = os.pread(self.handle, size, offset)
        if len(payload) < size or _checksum(meta, [payload]) != checksum:
            return None
        return Entry(self, offset, size, meta)


def _checksum(meta: bytes, parts: Sequence[Bytes]) -> int:
    digest = xxh3_64(meta)
    for part in parts:
        digest.update(part)
    return digest.intdigest()


class Journal:
    """Segments in a folder: one that is written, full ones that wait to be copied, free ones.

    One thread appends, others release and top up. ``most`` segments are kept at the most; when all
    of them wait, ``append`` returns none, and the caller has to wait, too.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, most: int = 8) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._most = most
        self._segments = [Segment(p, p.stat().st_size) for p in sorted(folder.glob("*.journal"))]
        self._free: list[Segment] = []
        self._current: Segment | None = None
        self._lock = threading.Lock()
        self._making = threading.Lock()
        """Held while a segment is made; taken before ``_lock``, for making takes long."""

    def recover(self, take: Callable[[Iterator[Entry]], None]) -> None:
        """Hand over every whole record that an earlier process left; then all segments are free.

        ``take`` must have them in store and ledger, on stable storage, when it returns.
        """
        for segment in self._segments:
            take(segment.entries())
            faults.point("journal.recovered")
        for segment in [s for s in self._segments if s.size != self._segment_bytes]:
            segment.remove()  # its making was cut off
            self._segments.remove(segment)
        for segment in self._segments:
            segment.begin()
            faults.point("journal.cleared")
            segment.sync()
        self._free = list(self._segments)

    def top_up(self) -> None:
        """Keep a free segment in reserve; making one takes a moment, so no appender should.

        Raises ``OSError`` where there is no room for it.
        """
        with self._making:
            while not self._free and len(self._segments) < self._most:
                made = self._new()
                with self._lock:
                    self._segments.append(made)
                    self._free.append(made)

    def append(self, about: bytes, parts: Sequence[Bytes]) -> Entry | None:
        """Write a record; none when every segment waits to be copied.

        Raises ``OSError`` where it cannot be written, or there is no room for a segment.
        """
        size = sum(len(part) for part in parts) + ABOUT_BYTES
        with self._lock:
            if current := self._with_room_for(size):
                return current.append(about, parts)
        self.top_up()
        with self._lock:
            current = self._with_room_for(size)
            return current.append(about, parts) if current else None

    def release(self, segment: Segment) -> None:
        """A record of a segment is safe elsewhere; once all are, the segment is free again."""
        with self._lock:
            segment.open_entries -= 1
            if segment.full and segment.open_entries == 0:
                self._free.append(segment)

    def close(self) -> None:
        """Close the files; a segment that nobody waits for has nothing to recover."""
        for segment in self._segments:
            if segment.open_entries == 0:
                segment.begin()
                segment.sync()
            os.close(segment.handle)

    def _with_room_for(self, size: int) -> Segment | None:
        """The segment to write to; a full one is put aside for a free one, if there is one."""
        current = self._current
        if current is not None and current.room_for(size):
            return current
        self._current = None
        if current is not None:
            current.full = True
            if current.open_entries == 0:
                self._free.append(current)
        if self._free:
            self._free[0].begin()
            faults.point("journal.segment_begun")
            self._current = self._free.pop(0)
        return self._current

    def _new(self) -> Segment:
        taken = {segment.path for segment in self._segments}
        names = (self.folder / f"{number:04d}.journal" for number in itertools.count())
        segment = Segment(next(n for n in names if n not in taken), self._segment_bytes)
        try:
            segment.prepare()
            faults.point("journal.segment_made")
        except OSError:
            segment.remove()
            raise
        return segment

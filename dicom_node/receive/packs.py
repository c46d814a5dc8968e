"""The packs that a process writes, and the instance that is written to one while it comes.

Such an instance stands behind room for its record's header, which is written last: until then the
records end before it. Nobody else writes to its pack meanwhile, and no other process to its folder.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from xxhash import xxh3_64

from dicom_node import faults
from dicom_node.receive.holding import Holding
from dicom_node.receive.pack import (
    MAGIC,
    PACK,
    RECORD,
    RECORD_MAGIC,
    SEALED,
    SUFFIX,
    Bytes,
    Pack,
    Record,
    aligned,
)
from dicom_node.store import sync_folder

PACK_BYTES = 64 << 20
"""A pack that has reached this size is full."""
MOST_OPEN = 4
"""Packs with room that wait for more: what is not sealed is read at the next start."""
ROOM = 1024
"""Of the header of an instance that is written as it comes."""
EMPTY: Mapping[str, int] = {}


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
        self.pack.write(parts, self.offset + self.size)
        for part in parts:
            self._digest.update(part)
            self.size += len(part)

    def finish(self, about: bytes) -> Record:
        """Write the header; not durable before ``sync``. Raises ``OSError``."""
        about = about.ljust(ROOM - RECORD.size)
        self._digest.update(about)
        header = RECORD.pack(RECORD_MAGIC, len(about), self.size, self._digest.intdigest())
        self.pack.write([header, about], self.pack.end)
        self.pack.end = aligned(self.offset + self.size)
        self._packs.put_back(self.pack, records=1)
        return Record(self.pack, self.offset, self.size, about)

    def cancel(self) -> None:
        """Nothing of it stays."""
        self.pack.cut()
        self._packs.put_back(self.pack, records=0)


class Packs:
    """The packs that one process writes, in a folder that is its own.

    Any thread may append or settle. ``abandoned``: folders of processes that are not there any
    more, whose packs are recovered, too, unless somebody holds them. ``ahead``: see ``Pack``.
    """

    def __init__(
        self,
        folder: Path,
        abandoned: Sequence[Path] = (),
        *,
        pack_bytes: int = PACK_BYTES,
        ahead: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)
        self.folder = folder
        self._abandoned = abandoned
        self._holding = Holding()
        self._pack_bytes = pack_bytes
        self._ahead = ahead
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
        Nothing is touched before the folders are held, until ``close``; raises ``StoreHeld``.
        """
        folders = self._holding.hold(self.folder, self._abandoned)
        for path in [path for folder in folders for path in folder.glob(f"*{SUFFIX}")]:
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
        return self._open.pop() if self._open else self._begin()

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
        """Seal what is written, and let go of the folders."""
        with self._lock:
            for pack in self._open:
                if not pack.waiting:
                    pack.seal()
            self._open.clear()
        self._holding.let_go()

    def _begin(self) -> Pack:
        path = self.folder / f"{self._stem}-{next(self._numbers)}{SUFFIX}"
        return Pack.begin(path, ahead=self._ahead)


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

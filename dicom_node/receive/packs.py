"""The packs that a process writes, and the instance that is written to one while it comes.

Such an instance stands behind room for its record's header, which is written last: until then the
records end before it. Nobody else writes to its pack meanwhile, and no other process to its folder.
"""

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from xxhash import xxh3_64

from dicom_node import faults
from dicom_node.observe import log
from dicom_node.receive.holding import Holding
from dicom_node.receive.pack import (
    AHEAD,
    RECORD,
    RECORD_MAGIC,
    ROOM,
    SUFFIX,
    Bytes,
    Pack,
    Record,
    aligned,
)
from dicom_node.receive.salvage import Found, keep_aside, look_through, open_found, put_aside
from dicom_node.store import make_folder, sync_folder

PACK_BYTES = 64 << 20
"""A pack that has reached this size is full."""
MOST_OPEN = 4
"""Packs with room that wait for more: what is not sealed is read at the next start."""
LONGEST_OPEN_S = 86_400.0
"""What is removed from a pack can be erased once it is sealed, so none stays open for long."""
EMPTY: Mapping[str, int] = {}
Extents = Callable[[str], Mapping[int, int]]
"""Offset and size of each instance that rows name in a pack."""


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
        checksum = self._digest.intdigest()
        header = RECORD.pack(RECORD_MAGIC, self.pack.mark, len(about), self.size, checksum)
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
        ahead: int = AHEAD,
    ) -> None:
        make_folder(folder)
        sync_folder(folder.parent.parent)  # whoever made the one between may have ended before
        self.folder = folder
        self._abandoned = abandoned
        self._holding = Holding()
        self._pack_bytes = pack_bytes
        self._ahead = ahead
        self._stem = f"{time.time_ns():x}"
        self._numbers = itertools.count()
        self._begun: WeakValueDictionary[str, Pack] = WeakValueDictionary()
        self._open: list[Pack] = []
        """Those that have room, and that nobody writes to at present."""
        self._lock = threading.Lock()

    def recover(
        self,
        take: Callable[[list[Record]], None],
        rows: Mapping[str, int] = EMPTY,
        extents: Extents = lambda _: {},
    ) -> None:
        """Hand over the records of every pack that an earlier process left unsealed, and of those
        that fewer rows name than did when they were sealed: the ledger is an older one.

        ``rows``: how many name a pack. ``take`` must have settled the records when it returns.
        Nothing is touched before the folders are held, until ``close``; raises ``StoreHeld``. What
        is damaged is kept aside, what cannot be read stays as it is.
        """
        folders = self._holding.hold(self.folder, self._abandoned)
        for path in [path for folder in folders for path in folder.glob(f"*{SUFFIX}")]:
            name = f"{path.parent.name}/{path.name}"
            if found := _look_into(path, rows.get(name, 0), extents):
                _recover(found, take)

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
        self._seal_old()
        return self._open.pop() if self._open else self._begin()

    def _seal_old(self) -> None:
        latest = time.monotonic() - LONGEST_OPEN_S
        for pack in [each for each in self._open if each.begun < latest and not each.waiting]:
            self._open.remove(pack)
            pack.seal()

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

    def forget(self, pack: str, offset: int, size: int) -> bool:
        """See ``Pack.forget``; whether it is one that is not sealed yet, and ours."""
        with self._lock:
            begun = self._begun.get(pack)
            if begun is None or begun.is_sealed:
                return False
            begun.forget(offset, size)
            return True

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
        pack = Pack.begin(path, ahead=self._ahead)
        self._begun[pack.name] = pack
        return pack


def _look_into(path: Path, rows: int, extents: Extents) -> Found | None:
    """What may have to be recovered of a pack; none where nothing can be."""
    pack = None
    try:
        if pack := open_found(path, rows):
            return _kept_aside(look_through(pack, extents(pack.name)))
    except OSError as error:
        if pack is not None:
            os.close(pack.handle)
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        log("listen").error("pack.unreadable", reason="STORAGE_IO", pack=path.name, error=name)
    return None


def _kept_aside(found: Found) -> Found:
    """Say what is damaged, and keep a copy of what is about to change."""
    if found.is_damaged:
        name = found.pack.path.name
        log("listen").error("pack.damaged", reason="ALTERED", pack=name, count=found.named)
    if found.is_spoilt and (found.records or found.named):
        keep_aside(found.pack.path)
    return found


def _recover(found: Found, take: Callable[[list[Record]], None]) -> None:
    pack, records = found.pack, found.records
    if records:
        pack.recover(found.end, waiting=len(records), kept=found.named)
        take(records)
        faults.point("pack.recovered")
    elif pack.is_sealed:
        os.close(pack.handle)
    elif found.named:
        pack.recover(found.end, waiting=0, kept=found.named)
        pack.seal()
    elif found.is_damaged:
        put_aside(pack)
    else:
        pack.remove()

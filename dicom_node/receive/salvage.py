"""What a pack that was found holds: its whole records, those behind damage, too.

Why nothing that a sender wrote can pass for a record: the header of a record bears the mark of its
pack, eight bytes that were drawn when the pack was begun and never leave this machine. Whoever
wants a header of his own to be believed, in an image that is kept, in one that was given up
half-way or in what stands behind a damaged header, would have to guess them. So where mark and
magic stand at a place where a record may begin, they are ours, and a checksum that is right says
that all of that record is there. Nothing is concluded from the sizes in a header that may be
damaged itself: the search looks at every such place.

Where the pack's own header is damaged, the mark of the first record is taken: its place is fixed,
and no sender writes there (an instance that is written as it comes leaves that room empty).

A search ends at no damage, and the pack is never cut below what a row of the ledger names.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dicom_node.receive.pack import (
    ALIGN,
    PACK,
    RECORD,
    RECORD_MAGIC,
    ROOM,
    SEALED,
    Head,
    Pack,
    Record,
    aligned,
    checksum,
)
from dicom_node.store import StoredFile, sync_folder

ASIDE = ".damaged"
"""Follows the name of a pack: what it was before it was cut."""
CHUNK = 1 << 20
SHORTEST = 132
"""Of a DICOM file: preamble and prefix."""
Place = tuple[int, int]
"""Where something begins, and where the next may."""


@dataclass(frozen=True, slots=True)
class Found:
    """A pack, and what it holds."""

    pack: Pack
    records: list[Record]
    """The whole ones."""
    named: int
    """How many rows name what is not whole."""
    end: int
    """Of the last record, or of what a row names."""
    is_spoilt: bool
    """Something was written that is no record and that no row names: it may have been one."""

    @property
    def is_damaged(self) -> bool:
        """Whether anything is not as it was written."""
        return self.is_spoilt or self.named > 0 or self.pack.is_damaged


def open_found(path: Path, rows: int) -> Pack | None:
    """A pack that may hold records without rows; ``rows`` name it. Raises ``OSError``.

    One that holds nothing, for its making was cut off, is deleted.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        head = Head.read(os.pread(handle, PACK.size, 0))
        mark = head.mark if head else _mark_of_first(handle)
        is_sealed = head is not None and head.state == SEALED
        pack = Pack(path, handle, PACK.size, mark=mark, is_new=True, is_sealed=is_sealed)
        pack.is_damaged = head is None
        size = os.fstat(handle).st_size
        is_empty = size <= PACK.size or (head is None and _is_blank(handle, 0, size))
    except OSError:
        os.close(handle)
        raise
    if is_empty and not rows:
        pack.remove()
        return None
    if head is not None and is_sealed and rows >= head.count:
        os.close(handle)
        return None
    return pack


def look_through(pack: Pack, extents: Mapping[int, int]) -> Found:
    """Find what is whole. ``extents``: offset and size of what rows name. Raises ``OSError``."""
    size = os.fstat(pack.handle).st_size
    records, places, broken = [], [], 0
    position = _next(pack, PACK.size)
    while position is not None:
        if (record := _read(pack, position, size)) is None or _is_broken(record):
            broken, position = position, _next(pack, position + ALIGN)
            continue
        places.append((position, aligned(record.offset + record.size)))
        records += [record] if record.is_whole else []
        position = _next(pack, places[-1][1] if record.is_whole else position + ALIGN)
    places += [(at - ROOM, aligned(at + length)) for at, length in extents.items()]
    end = max((end for _, end in places), default=PACK.size)
    spoilt = broken >= end or _is_spoilt(pack.handle, places, end)
    named = len(extents.keys() - {record.offset for record in records})
    return Found(pack, records, named, min(end, size), spoilt)


def keep_aside(path: Path) -> None:
    """Keep a copy of a pack as it was found, for a person to look at. Raises ``OSError``."""
    aside = path.with_name(path.name + ASIDE)
    if aside.exists():
        return
    part = path.with_name(f"{path.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as target:
            target.writelines(StoredFile(path, 0, path.stat().st_size).chunks())
            target.flush()
            os.fsync(target.fileno())
        part.rename(aside)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def put_aside(pack: Pack) -> None:
    """Close a pack of which nothing can be read; it stays under another name."""
    os.close(pack.handle)
    pack.path.rename(pack.path.with_name(pack.path.name + ASIDE))


def _mark_of_first(handle: int) -> bytes:
    header = os.pread(handle, RECORD.size, PACK.size).ljust(RECORD.size, b"\0")
    magic, mark, *_ = RECORD.unpack(header)
    if magic == RECORD_MAGIC:
        return bytes(mark)
    mark = PACK.unpack(os.pread(handle, PACK.size, 0).ljust(PACK.size, b"\0"))[3]
    return bytes(mark)


def _next(pack: Pack, begin: int) -> int | None:
    """The next place at which a header of ours stands."""
    sought = RECORD_MAGIC + pack.mark
    if not any(pack.mark):
        return None  # it was wiped out, and anybody can guess zeros
    while chunk := os.pread(pack.handle, CHUNK + len(sought), begin):
        at = chunk.find(sought)
        while at >= 0 and at % ALIGN:
            at = chunk.find(sought, at + 1)
        if at >= 0:
            return begin + at
        begin += CHUNK
    return None


def _read(pack: Pack, position: int, size: int) -> Record | None:
    """The record at a place; none if it does not fit into the file."""
    header = os.pread(pack.handle, RECORD.size, position).ljust(RECORD.size, b"\0")
    _, _, about_size, length, expected = RECORD.unpack(header)
    start = position + RECORD.size + about_size
    if start + length > size:
        return None
    about = os.pread(pack.handle, about_size, position + RECORD.size)
    content = StoredFile(pack.path, start, length).chunks()
    return Record(pack, start, length, about, checksum(chain(content, [about])) == expected)


def _is_broken(record: Record) -> bool:
    """Neither whole, nor one whose room was given back: its header is as it was, and nothing else.

    A wrong size may reach from a header to the empty room at the end of a pack, over the instance.
    """
    if record.is_whole:
        return False
    length = max(record.size, SHORTEST)
    is_empty = _is_blank(record.pack.handle, record.offset, record.offset + length)
    return not (is_empty and _is_object(record.about))


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_spoilt(handle: int, places: Iterable[Place], end: int) -> bool:
    """Whether there is something between the places, or begins behind them.

    An instance that was still coming does not begin there: the room of its header is empty.
    """
    position = PACK.size
    for begin, until in sorted(places):
        if begin > position and not _is_blank(handle, position, begin):
            return True
        position = max(position, until)
    return not _is_blank(handle, end, end + RECORD.size)


def _is_blank(handle: int, begin: int, end: int) -> bool:
    while begin < end and (chunk := os.pread(handle, min(CHUNK, end - begin), begin)):
        if chunk.count(0) < len(chunk):
            return False
        begin += len(chunk)
    return True

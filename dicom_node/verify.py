"""Compare the store with the ledger: each file's SHA-256 with its row, each row with its file."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_node.ledger import Ledger
from dicom_node.ledger.inventory import Filed
from dicom_node.receive.pack import PACK, SEALED, SUFFIX, read_head
from dicom_node.receive.salvage import ASIDE
from dicom_node.store import EndsEarly, InstanceStore, StoredFile

Progress = Callable[[int, int], None]
"""Told of (files done, files in all)."""
SETTLED_S = 3600.0
"""A younger file without a row may be one whose row is being written."""


class Wrong(StrEnum):
    """What can be wrong with a file."""

    MISSING = "MISSING"
    ALTERED = "ALTERED"
    UNREADABLE = "UNREADABLE"
    ORPHAN = "ORPHAN"
    UNRECORDED = "UNRECORDED"
    PACK_DAMAGED = "PACK_DAMAGED"
    PACK_ASIDE = "PACK_ASIDE"


ADVICE: Mapping[Wrong, str] = {
    Wrong.MISSING: "restore it from a backup, or have the study sent again",
    Wrong.ALTERED: "check the disk and who may write to it; then restore the file from a backup, "
    "or have the study sent again",
    Wrong.UNREADABLE: "check the disk and the file's owner; then restore the file from a backup, "
    "or have the study sent again",
    Wrong.UNRECORDED: "the ledger is older than this pack: start dicom-node again, and "
    "its listener writes the rows",
    Wrong.PACK_DAMAGED: "check the disk; then start dicom-node again: its listener writes the "
    "header of this pack anew, and looks for what has no row yet",
    Wrong.PACK_ASIDE: "a part of this pack could not be read when the listener started. Power may "
    "have failed while it was written: then nobody was promised it. Else check the disk and have "
    "sent again what is missing. Then delete the file",
    Wrong.ORPHAN: "nobody was promised it: the sweep removes it an hour after its next start",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not as the ledger says, or a file that it says nothing of."""

    wrong: Wrong
    filed: Filed

    @property
    def advice(self) -> str:
        """What to do next."""
        return ADVICE[self.wrong]


def verify(
    ledger: Ledger, store: InstanceStore, progress: Progress = lambda _done, _all: None
) -> Iterator[Problem]:
    """Hash every file that a row names; then name the files that no row names, and bad packs."""
    strangers = {path.name: path for path in settled_files(store)}
    total, known = len(strangers), set[str]()
    for filed in ledger.inventory.files():
        _spare(strangers, filed)
        wrong = None if filed.sha256 in known else _examine(filed, store)
        if wrong and ledger.inventory.names(filed):
            yield Problem(wrong, filed)
        known.add(filed.sha256)
        progress(len(known), max(total, len(known)))
    for name in sorted(strangers.keys() - ledger.erasures.files()):
        yield Problem(Wrong.ORPHAN, Filed(name, "", ""))
    yield from _bad_packs(ledger, store)


def _bad_packs(ledger: Ledger, store: InstanceStore) -> Iterator[Problem]:
    """Packs with a damaged header, and those that fewer rows name than when they were sealed."""
    rows = ledger.inventory.packs()
    for path in sorted(store.packs.glob(f"*/*{SUFFIX}")):
        name = f"{path.parent.name}/{path.name}"
        if wrong := _examine_pack(path, rows.get(name, 0)):
            yield Problem(wrong, Filed("", "", "", name))
    for path in sorted(store.packs.glob(f"*/*{SUFFIX}{ASIDE}")):
        yield Problem(Wrong.PACK_ASIDE, Filed("", "", "", f"{path.parent.name}/{path.name}"))


def _examine_pack(path: Path, rows: int) -> Wrong | None:
    try:
        head = read_head(path)
        is_begun = path.stat().st_size >= PACK.size
    except FileNotFoundError:
        return None  # sealed meanwhile, and nothing was kept of it
    except OSError:
        return Wrong.UNREADABLE
    if head is None:
        return Wrong.PACK_DAMAGED if is_begun else None
    return Wrong.UNRECORDED if head.state == SEALED and rows < head.count else None


def settled_files(store: InstanceStore) -> Iterator[Path]:
    """The files, packs aside, that nobody has touched for an hour."""
    latest = time.time() - SETTLED_S
    unfinished = (store.root / "incoming").glob("*")
    for folder in [*store.places(), *unfinished]:
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):  # it was finished, or given up, meanwhile
                if entry.stat(follow_symlinks=False).st_ctime <= latest:
                    yield Path(entry.path)


def _spare(strangers: dict[str, Path], filed: Filed) -> None:
    if not filed.pack:
        strangers.pop(filed.sha256, None)


def _examine(filed: Filed, store: InstanceStore) -> Wrong | None:
    try:
        if filed.pack:
            part = StoredFile(store.packs / filed.pack, filed.pack_offset, filed.size_bytes)
            same = part.sha256() == filed.sha256
        else:
            with store.path(filed.sha256).open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == filed.sha256
    except FileNotFoundError:
        return Wrong.MISSING
    except EndsEarly:
        return Wrong.ALTERED
    except OSError:
        return Wrong.UNREADABLE
    return None if same else Wrong.ALTERED

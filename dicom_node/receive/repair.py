"""An instance that comes again takes the place of a copy that the disk has altered or lost."""

import fcntl
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger
from dicom_node.receive.pack import PACK, SEALED, Head
from dicom_node.receive.room import erase
from dicom_node.store import InstanceStore


def mend(ledger: Ledger, store: InstanceStore, arrived: Instance) -> Instance | None:
    """What a row named until now, where it had to be pointed at the copy that arrived.

    ``arrived`` is a duplicate, on stable storage. The copy that is kept is read and hashed; where
    it is as it should be, nothing happens, and none is returned. Raises ``LedgerBusy``.
    """
    kept = ledger.studies.kept(arrived.sop_instance_uid, arrived.sha256)
    if kept is None or _place(kept) == _place(arrived) or store.file(kept).is_as_expected:
        return None
    return kept if ledger.studies.relocate(kept, arrived) else None


def is_named(ledger: Ledger, arrived: Instance) -> bool:
    """Whether the row of a duplicate names the very copy that arrived.

    So it does where a commit was done and its answer lost. Raises ``LedgerBusy``.
    """
    kept = ledger.studies.kept(arrived.sop_instance_uid, arrived.sha256)
    return kept is not None and _place(kept) == _place(arrived)


def forget(store: InstanceStore, kept: Instance) -> None:
    """Give back the room of a copy in a pack that no row names any more."""
    if kept.pack:
        _give_up(store.packs / kept.pack, kept.pack_offset, kept.size_bytes)


def _place(instance: Instance) -> tuple[str, int]:
    return instance.pack, instance.pack_offset


def _give_up(path: Path, offset: int, size: int) -> None:
    """A row that named an instance in a pack of the past names another copy now."""
    with suppress(OSError), path.open("r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # others may do the same
        head = Head.read(file.read(PACK.size))
        if head is not None and head.state == SEALED and head.count:
            os.pwrite(file.fileno(), replace(head, count=head.count - 1).packed(), 0)
        erase(file.fileno(), offset, size)

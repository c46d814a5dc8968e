"""Intake: bytes to the store, then a row to the ledger; only then may anyone say success."""

from dataclasses import asdict
from pathlib import Path

from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.receive.admission import Identity
from dicom_node.store import InstanceStore


class Intake:
    """Where every door of the node hands over what it received."""

    def __init__(self, store: InstanceStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def keep(self, file: Path, identity: Identity, calling_ae: str) -> Recording:
        """Take over a finished file of the store's incoming folder.

        On return the bytes and the row are on stable storage. Raises ``OutOfSpace``,
        ``ProcessingFailure`` or ``LedgerBusy``; then nothing was acknowledged, and a file without
        a row does no harm.
        """
        kept = self._store.adopt(file)
        instance = Instance(**asdict(identity), sha256=kept.sha256, size_bytes=kept.size_bytes)
        return self._ledger.studies.record(instance, calling_ae)

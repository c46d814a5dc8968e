"""Where files enter that do not come by C-STORE: same checks, same store, same ledger."""

import mmap
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.domain.errors import (
    DatasetMismatch,
    LedgerBusy,
    OutOfSpace,
    Refused,
    UnreadableDataset,
)
from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.observe import log
from dicom_node.receive.admission import check_supported
from dicom_node.receive.dataset import Bytes
from dicom_node.receive.incoming import MOST_BYTES
from dicom_node.receive.part10 import check_file, is_program, keep_checked, names
from dicom_node.receive.repair import forget, mend
from dicom_node.store import InstanceStore, refusing

LEDGER_BUSY = 0xA700


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    sop_class_uid: str
    sop_instance_uid: str
    """Both as the file says, or empty where it does not say."""
    status: int
    """As a C-STORE would have been answered; 0: taken."""
    code: str
    """NEW, DUP_SAME and so on (``Recording``), or the reason of a refusal."""
    advice: str = ""


class Draft:
    """A file that is still coming, in the store's folder, and without a name there."""

    def __init__(self, store: InstanceStore, reserve_mib: int) -> None:
        self._store = store
        self._reserve_mib = reserve_mib
        self._handle = -1
        self.size = 0
        self.refusal: Refused | None = None
        """Why what comes is thrown away."""

    def write(self, data: Bytes) -> None:
        """Take the next bytes; an I/O error becomes the ``refusal``."""
        self.size += len(data)
        try:
            if self.refusal is None:
                self._write(memoryview(data))
        except Refused as refusal:
            self.discard()
            self.refusal = refusal

    def _write(self, data: memoryview) -> None:
        if self.size > MOST_BYTES:
            raise OutOfSpace(
                "the instance is over 2 GiB; have it sent in parts", code="INSTANCE_SIZE"
            )
        with refusing():
            if self._handle < 0:
                self._begin()
            while data:
                data = data[os.write(self._handle, data) :]

    def _begin(self) -> None:
        if shutil.disk_usage(self._store.root).free >> 20 < self._reserve_mib:
            raise OutOfSpace("too little space: free some, or move data_dir", code="HIGH_WATER")
        self._handle, path = self._store.new_file()
        Path(path).unlink()  # so that it ends with us, however we end

    def content(self) -> memoryview:
        """All of it; the last that looks at it lets go of it. Raises ``Refused``."""
        if self.refusal is not None:
            raise self.refusal
        if self._handle < 0:
            raise UnreadableDataset(
                "the file is empty; copy it again from its source", code="NO_DATASET"
            )
        return memoryview(mmap.mmap(self._handle, self.size, prot=mmap.PROT_READ))

    def discard(self) -> None:
        """Give it up."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


class Intake:
    """Takes whole files for STOW-RS and ``dicom-node import``. Any number of threads may call."""

    def __init__(
        self, store: InstanceStore, ledger: Ledger, *, reserve_mib: int, role: str
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._reserve_mib = reserve_mib
        self._log = log(role)

    def draft(self) -> Draft:
        """A file to write to."""
        return Draft(self._store, self._reserve_mib)

    def take(self, draft: Draft, *, source: str, peer: str = "", study: str = "") -> Outcome:
        """Check a file and keep it; when it is taken, bytes and row are on stable storage.

        A refusal is logged and returned. ``source`` stands where a calling AE title would;
        ``study`` is the only Study Instance UID that is welcome, if one is given.
        """
        named = ("", "")
        about = {"aet": source, "bytes": draft.size} | ({"peer": peer} if peer else {})
        try:
            content = draft.content()
            named = names(content)
            return self._take(content, source, study, about)
        except (Refused, LedgerBusy) as refusal:
            status = refusal.status if isinstance(refusal, Refused) else LEDGER_BUSY
            about |= {"sop": named[1]} if named[1] else {}
            self._log.warning("store.reject", reason=refusal.code, status=f"{status:04X}", **about)
            return Outcome(*named, status, refusal.code, str(refusal))
        finally:
            draft.discard()

    def _take(self, content: Bytes, source: str, study: str, about: dict[str, Any]) -> Outcome:
        file = check_file(content, self._store.incoming)
        found = file.identity
        check_supported(found.sop_class_uid, found.transfer_syntax_uid)
        if study and found.study_instance_uid != study:
            raise DatasetMismatch(
                "the instance is of another study; send it to that one, or to /studies",
                code="STUDY_MISMATCH",
            )
        recording = self._record(keep_checked(self._store, file), source)
        notes = {
            "PREAMBLE": is_program(content),
            "UID_PADDED": found.padded,
            recording.value: recording is not Recording.NEW,
        }
        for reason in (reason for reason, holds in notes.items() if holds):
            self._log.info("store.note", reason=reason, sop=found.sop_instance_uid, **about)
        return Outcome(found.sop_class_uid, found.sop_instance_uid, 0, recording.value)

    def _record(self, kept: Instance, source: str) -> Recording:
        recording = self._ledger.studies.record(kept, source)
        if recording is not Recording.DUPLICATE:
            return recording
        if (before := mend(self._ledger, self._store, kept)) is None:
            return Recording.DUPLICATE
        forget(self._store, before)
        return Recording.MENDED

"""The recorder: writes the ledger's rows of acknowledged instances, behind the answers.

One thread. It hashes what was not hashed while it was at hand. Many rows are committed at once;
then the packs may forget that they waited. An instance whose row is not written yet is found in its
pack by the next process.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from dicom_node import faults
from dicom_node.domain.errors import LedgerBusy
from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.observe import log
from dicom_node.receive.dataset import Identity
from dicom_node.receive.pack import Record
from dicom_node.receive.packs import Packs
from dicom_node.receive.repair import forget, is_named, mend
from dicom_node.store import InstanceStore

IDLE_S, LONGEST_WAIT_S = 0.05, 1.0
"""Rows are written when nothing came for a moment, and at the latest after a second."""
MOST_ROWS = 2000
MOST_WAITING = 20_000
RETRY_S = 1.0
KEPT = {Recording.NEW, Recording.CONFLICT, Recording.MENDED}
"""Its bytes are what a row names."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that is safe, on its way into the ledger."""

    identity: Identity
    calling_ae: str
    record: Record
    hashed: list[str] = field(default_factory=list)
    """Its SHA-256, once somebody has computed it."""

    def hash(self) -> None:
        """See to it that its hash is known. Raises ``OSError`` where it cannot be read."""
        if not self.hashed:
            self.hashed.append(self.record.sha256())

    def instance(self) -> Instance:
        """What the ledger keeps of it. Raises ``OSError`` as ``hash`` does."""
        self.hash()
        identity, record = self.identity, self.record
        return Instance(
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax_uid=identity.transfer_syntax_uid,
            sha256=self.hashed[0],
            size_bytes=record.size,
            pack=record.pack.name,
            pack_offset=record.offset,
        )


class Recorder:
    """One thread; ``put`` from any other."""

    def __init__(self, packs: Packs, ledger: Ledger, store: InstanceStore) -> None:
        self._packs = packs
        self._ledger = ledger
        self._store = store
        self._log = log("listen")
        self._waiting: deque[Arrival] = deque()
        self._wake = threading.Event()
        self._ending = False
        self.is_locked_out = False
        """The ledger stayed locked for longer than its time-out, and has taken nothing since."""
        self._thread = threading.Thread(target=or_die, args=[self._run], name="record", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end.

        Where the ledger takes nothing now, the next process finds what waits in its packs.
        """
        self._ending = True
        self._wake.set()
        self._thread.join()

    def put(self, arrival: Arrival) -> None:
        """Take an instance; returns at once."""
        self._waiting.append(arrival)
        if not self._wake.is_set():
            self._wake.set()

    def rows(self) -> Mapping[str, int]:
        """How many rows name a pack."""
        return self._ledger.inventory.packs()

    def extents(self, pack: str) -> Mapping[int, int]:
        """Offset and size of each instance that rows name in a pack."""
        return self._ledger.inventory.extents(pack)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that no more should be taken."""
        return len(self._waiting) >= MOST_WAITING

    def settle(self, arrivals: Sequence[Arrival], *, found: bool = False) -> None:
        """Write their rows, once what they name is on stable storage, and let the packs know.

        ``found``: in one pack that an earlier process left; a row that is there may be its own.
        Raises ``LedgerBusy`` for these and at the end; else it waits for the ledger.
        """
        instances = [arrival.instance() for arrival in arrivals]
        callers = [arrival.calling_ae for arrival in arrivals]
        for pack in {a.record.pack for a in arrivals if not a.record.is_synced}:
            pack.sync()
        faults.point("recorder.recording")
        rows = list(zip(instances, callers, strict=True))
        recorded = self._patiently(partial(self._ledger.studies.record_all, rows), wait=not found)
        faults.point("recorder.recorded")
        recordings = [
            self._mended(i, wait=not found) if r is Recording.DUPLICATE else r
            for i, r in zip(instances, recorded, strict=True)
        ]
        for (instance, calling_ae), recording in zip(rows, recordings, strict=True):
            if recording is not Recording.NEW:
                about = {"aet": calling_ae, "sop": instance.sop_instance_uid}
                self._log.info("store.note", reason=recording.value, **about)
        kept = [recording in KEPT for recording in recordings]
        if found:
            named = self.extents(arrivals[0].record.pack.name)
            kept = [arrival.record.offset in named for arrival in arrivals]
        self._packs.settle(zip((a.record for a in arrivals), kept, strict=True))
        faults.point("recorder.settled")

    def _mended(self, arrived: Instance, *, wait: bool) -> Recording:
        """What becomes of a duplicate: it takes the place of a copy that is not as it was."""
        before = self._patiently(partial(mend, self._ledger, self._store, arrived), wait=wait)
        if before is None:
            ours = self._patiently(partial(is_named, self._ledger, arrived), wait=wait)
            return Recording.NEW if ours else Recording.DUPLICATE
        if not self._packs.forget(before.pack, before.pack_offset, before.size_bytes):
            forget(self._store, before)
        return Recording.MENDED

    def _run(self) -> None:
        try:
            self._write()
        except LedgerBusy as busy:
            self._log.warning("ledger.left", reason=busy.code)

    def _write(self) -> None:
        while not self._ending or self._waiting:
            self._wake.wait()
            if not self._ending:
                self._gather()
            while batch := [self._waiting.popleft() for _ in range(self._at_once())]:
                self.settle(batch)
            self._wake.clear()
            if self._waiting or self._ending:
                self._wake.set()

    def _gather(self) -> None:
        """Wait until nothing came for a moment, or something has waited for long."""
        deadline, seen = time.monotonic() + LONGEST_WAIT_S, -1
        while seen != len(self._waiting) < MOST_ROWS and time.monotonic() < deadline:
            seen = len(self._waiting)
            time.sleep(IDLE_S)

    def _at_once(self) -> int:
        return min(len(self._waiting), MOST_ROWS)

    def _patiently(self, work: Callable[[], T], *, wait: bool) -> T:
        while True:
            try:
                done = work()
            except LedgerBusy as busy:
                if self._ending or not wait:
                    raise
                self.is_locked_out = True
                self._log.warning("ledger.waits", reason=busy.code)
                time.sleep(RETRY_S)
            else:
                self.is_locked_out = False
                return done


def or_die(work: Callable[[], Any]) -> None:
    """A thread of the listener must not end unseen: the process goes, and recovers at its start."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001
        log("listen").critical("store.failed", reason="INTERNAL", exc_info=error)
        os._exit(70)

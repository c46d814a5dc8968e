"""The copier: brings acknowledged instances to their place in the store and into the ledger.

It works behind the answers, in one thread. Files are put on stable storage together (syncfs(2)),
then their rows are committed together, then the journal may forget them: a row always has a file.
"""

import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node import faults
from dicom_node.domain.errors import DicomNodeError, LedgerBusy
from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.observe import log
from dicom_node.receive.dataset import Identity
from dicom_node.store import InstanceStore, Kept

IDLE_S, LONGEST_WAIT_S = 0.05, 1.0
"""Rows are written when nothing came for a moment, and at the latest after a second."""
MOST_ROWS = 2000
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that is safe, on its way to store and ledger."""

    identity: Identity
    calling_ae: str
    bring: Callable[[], Kept]
    """Put it to its place in the store; may raise ``DicomNodeError``, and be tried again."""
    forget: Callable[[], None]
    """Called once file and row are safe."""


class Copier:
    """One thread; ``put`` from any other."""

    def __init__(self, store: InstanceStore, ledger: Ledger, *, durable: bool) -> None:
        self._store = store
        self._ledger = ledger
        self._durable = durable
        self._log = log("listen")
        self._queue: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=or_die, args=[self._run], name="copy", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def put(self, arrival: Arrival) -> None:
        """Take an instance; returns at once."""
        self._queue.put(arrival)

    def settle(self, arrivals: Sequence[Arrival]) -> None:
        """Bring all of them, make them durable, write their rows, and let them be forgotten."""
        self._finish([(arrival, self._bring(arrival)) for arrival in arrivals])

    def _run(self) -> None:
        waiting: list[tuple[Arrival, Instance]] = []
        since, ending = 0.0, False
        while not (ending and not waiting):
            arrival, ended = self._next(0 if ending else IDLE_S if waiting else None)
            ending = ending or ended
            now = time.monotonic()
            if arrival is not None:
                since = since if waiting else now
                waiting.append((arrival, self._bring(arrival)))
            late = len(waiting) >= MOST_ROWS or now - since >= LONGEST_WAIT_S
            if waiting and (late or arrival is None):
                self._finish(waiting)
                waiting = []

    def _next(self, timeout: float | None) -> tuple[Arrival | None, bool]:
        """(the next arrival, whether this is the end); none when nothing came in time."""
        try:
            arrival = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None, False
        return arrival, arrival is None

    def _bring(self, arrival: Arrival) -> Instance:
        """Its place in the store; a full disk is waited out, for the bytes are safe meanwhile."""
        while True:
            try:
                kept = arrival.bring()
                faults.point("copier.brought")
            except DicomNodeError as error:
                self._log.error("store.waits", reason=error.code)
                time.sleep(RETRY_S)
            else:
                return as_instance(arrival.identity, kept)

    def _finish(self, waiting: Sequence[tuple[Arrival, Instance]]) -> None:
        if self._durable:
            sync_file_system(self._store.root)
        faults.point("copier.synced")
        rows = [(instance, arrival.calling_ae) for arrival, instance in waiting]
        for instance, recording in zip(waiting, self._record(rows), strict=True):
            if recording is not Recording.NEW:
                uid = instance[1].sop_instance_uid
                self._log.info("store.note", reason=recording.value, sop=uid)
        for arrival, _ in waiting:
            faults.point("copier.recorded")
            arrival.forget()
        faults.point("copier.forgotten")

    def _record(self, rows: Sequence[tuple[Instance, str]]) -> list[Recording]:
        while True:
            try:
                return self._ledger.studies.record_all(rows)
            except LedgerBusy as busy:
                self._log.warning("ledger.waits", reason=busy.code)
                time.sleep(RETRY_S)


def as_instance(identity: Identity, kept: Kept) -> Instance:
    """What the ledger keeps of an instance."""
    return Instance(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=identity.transfer_syntax_uid,
        sha256=kept.sha256,
        size_bytes=kept.size_bytes,
    )


def or_die(work: Callable[[], Any]) -> None:
    """A thread of the listener must not end unseen: the process goes, and recovers at its start."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001
        log("listen").critical("store.failed", reason="INTERNAL", exc_info=error)
        os._exit(70)


def sync_file_system(folder: Path) -> None:
    """Put everything of the file system that holds a folder on stable storage (syncfs(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed")
    finally:
        os.close(handle)

"""The spool: makes a received instance safe before it is acknowledged.

Durable, it is synced in its pack, many waiters at once: safe from power loss. Else it is written to
its pack: safe from anything but the system itself. Its row in the ledger follows.
"""

import json
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dicom_node import faults
from dicom_node.domain.errors import LedgerBusy, OutOfSpace, ProcessingFailure, Refused
from dicom_node.observe import log
from dicom_node.receive.dataset import Identity
from dicom_node.receive.incoming import Incoming, as_refusal
from dicom_node.receive.pack import Pack, Record
from dicom_node.receive.packs import Packs
from dicom_node.receive.recorder import Arrival, Recorder, or_die

Done = Callable[[Refused | None], None]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What became of an instance that was handed in."""

    safe: bool
    """It may be acknowledged now; else when ``done`` is called."""
    settle: Callable[[], None]
    """Call once: after the answer if it is safe, at once if it is not."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    arrival: Arrival
    done: Done

    @property
    def pack(self) -> Pack:
        return self.arrival.record.pack


class Spool:
    """Makes instances safe. ``keep`` is called from one thread at a time."""

    def __init__(self, packs: Packs, recorder: Recorder, *, durable: bool) -> None:
        self._packs = packs
        self._recorder = recorder
        self._durable = durable
        self.failure: ProcessingFailure | None = None
        """A sync failed: nothing more is kept."""
        self._syncs: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=or_die, args=[self._sync_all], name="sync", daemon=True
        )

    def start(self) -> None:
        """Bring what was acknowledged before into the ledger, then begin."""
        self._packs.recover(self._recover, self._recorder.rows(), self._recorder.extents)
        self._recorder.start()
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end."""
        self._syncs.put(None)
        self._thread.join()
        self._recorder.stop()
        self._packs.close()

    def keep(
        self,
        identity: Identity,
        calling_ae: str,
        incoming: Incoming,
        done: Done,
        *,
        alone: bool = False,
    ) -> Ticket:
        """Make an instance safe.

        ``done`` may be called from another thread. ``alone``: nobody else is sending, so the caller
        may wait for the sync, which spares two changes of threads. Raises ``OutOfSpace``,
        ``ProcessingFailure``.
        """
        if self._recorder.is_behind:
            raise OutOfSpace("the ledger cannot follow", code="HIGH_WATER")
        if self._recorder.is_locked_out:
            raise OutOfSpace("the ledger is locked", code=LedgerBusy.code)
        try:
            arrival = Arrival(identity, calling_ae, incoming.keep(_about(identity, calling_ae)))
        except OSError as error:
            raise as_refusal(error) from error
        faults.point("pack.appended")
        if self._durable and not alone:
            self._syncs.put(_Waiter(arrival, done))
            return Ticket(safe=False, settle=partial(_hash, arrival, incoming))
        if self._durable and (failure := self._sync({arrival.record.pack})):
            raise failure.with_traceback(None)  # it is raised again and again
        return Ticket(safe=True, settle=partial(self._record, arrival, incoming))

    def _record(self, arrival: Arrival, incoming: Incoming) -> None:
        _hash(arrival, incoming)
        self._recorder.put(arrival)

    def _recover(self, records: Sequence[Record]) -> None:
        log("listen").warning("store.recovered", count=len(records))
        self._recorder.settle([_arrival(record) for record in records], found=True)

    def _sync_all(self) -> None:
        """Sync whatever waits, all of it at once."""
        while (first := self._syncs.get()) is not None:
            batch = [first, *_drain(self._syncs)]
            waiters = [waiter for waiter in batch if waiter is not None]
            failure = self._sync({waiter.pack for waiter in waiters})
            for waiter in waiters:
                if failure is None:
                    self._recorder.put(waiter.arrival)
                    faults.point("spool.handed_over")
                waiter.done(failure)
            if len(waiters) < len(batch):
                return

    def _sync(self, packs: set[Pack]) -> ProcessingFailure | None:
        """After an error nothing is tried again: the system may have dropped what it held."""
        try:
            for pack in () if self.failure else packs:
                faults.point("pack.syncing")
                pack.sync()
                faults.point("pack.synced")
        except OSError as error:
            log("listen").error("store.failed", reason="STORAGE_IO", error=type(error).__name__)
            self.failure = ProcessingFailure("the pack could not be made durable")
        return self.failure


def _about(identity: Identity, calling_ae: str) -> bytes:
    """As JSON; by hand, for UIDs need no escaping, and it is between every image and its answer."""
    padded = "true" if identity.padded else "false"
    return (
        f'{{"study_instance_uid": "{identity.study_instance_uid}", '
        f'"series_instance_uid": "{identity.series_instance_uid}", '
        f'"sop_instance_uid": "{identity.sop_instance_uid}", '
        f'"sop_class_uid": "{identity.sop_class_uid}", '
        f'"transfer_syntax_uid": "{identity.transfer_syntax_uid}", '
        f'"padded": {padded}, "calling_ae": {json.dumps(calling_ae)}}}'
    ).encode()


def _arrival(record: Record) -> Arrival:
    about = json.loads(record.about)
    identity = Identity(**{name: about[name] for name in Identity.__slots__})
    return Arrival(identity, about["calling_ae"], record)


def _hash(arrival: Arrival, incoming: Incoming) -> None:
    """Now, if it is at hand; else the recorder will."""
    if sha256 := incoming.sha256():
        arrival.hashed.append(sha256)


def _drain(waiting: "queue.SimpleQueue[_Waiter | None]") -> list[_Waiter | None]:
    """All that is in a queue now."""
    found = []
    while True:
        try:
            found.append(waiting.get_nowait())
        except queue.Empty:
            return found

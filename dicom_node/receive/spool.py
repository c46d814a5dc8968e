"""Two ways to make a received instance safe before it is acknowledged.

``JournalSpool`` (``durability = "full"``) appends it to the journal and syncs that, many waiters at
once: safe from power loss. ``FileSpool`` (``durability = "os"``) writes it to a file of the store's
incoming folder: safe from anything but the system itself. Both hand it to the copier afterwards,
and both find at their start what an earlier process had acknowledged.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused
from dicom_node.observe import log
from dicom_node.receive.copier import Arrival, Copier, or_die
from dicom_node.receive.dataset import Identity
from dicom_node.receive.incoming import WHOLE, Incoming, as_refusal
from dicom_node.receive.journal import Entry, Journal, Segment
from dicom_node.receive.part10 import check_file
from dicom_node.store import InstanceStore, Kept

Done = Callable[[Refused | None], None]
RECOVERED = "RECOVERED"
"""Stands for the calling AE title where only the file survived."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What became of an instance that was handed in."""

    safe: bool
    """It may be acknowledged now; else when ``done`` is called."""
    settle: Callable[[], None]
    """Call once: after the answer if it is safe, at once if it is not."""


class Spool(Protocol):
    """Makes instances safe. ``keep`` is called from one thread."""

    def start(self) -> None:
        """Bring what was acknowledged before into store and ledger, then begin."""

    def stop(self) -> None:
        """Finish what waits, and end."""

    def keep(self, identity: Identity, calling_ae: str, incoming: Incoming, done: Done) -> Ticket:
        """Make an instance safe.

        ``done`` may be called from another thread. Raises ``OutOfSpace``, ``ProcessingFailure``.
        """


class JournalSpool:
    """Safe from power loss: one sync of the journal carries bytes and row."""

    def __init__(self, folder: Path, store: InstanceStore, copier: Copier) -> None:
        self._journal = Journal(folder)
        self._store = store
        self._copier = copier
        self._commits: queue.SimpleQueue[tuple[Entry, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=or_die, args=[self._commit_all], name="commit", daemon=True
        )

    def start(self) -> None:
        """See ``Spool``."""
        self._journal.recover(self._recover)
        recover_files(self._store, self._copier)
        self._top_up()
        self._thread.start()

    def stop(self) -> None:
        """See ``Spool``."""
        self._commits.put(None)
        self._thread.join()
        self._copier.stop()
        self._journal.close()

    def keep(self, identity: Identity, calling_ae: str, incoming: Incoming, done: Done) -> Ticket:
        """See ``Spool``."""
        file = incoming.finished_file(durable=True)
        about = identity.fields() | {"calling_ae": calling_ae}
        if file is not None:
            about |= {
                "file": Path(file[0]).name,
                "kept": [file[1].sha256, file[1].size_bytes],
            }
        entry = self._append(about, [] if file else incoming.parts())
        faults.point("journal.appended")
        hashed: list[str] = []
        self._commits.put((entry, partial(self._committed, entry, hashed, done)))
        return Ticket(safe=False, settle=lambda: hashed.append(incoming.sha256()))

    def _append(self, about: dict[str, object], parts: list[bytes | memoryview]) -> Entry:
        try:
            entry = self._journal.append(json.dumps(about).encode(), parts)
        except OSError as error:
            raise as_refusal(error) from error
        if entry is None:
            raise OutOfSpace("the store cannot follow: the journal is full", code="HIGH_WATER")
        return entry

    def _committed(
        self, entry: Entry, hashed: list[str], done: Done, failure: Refused | None
    ) -> None:
        if failure is None:
            self._copier.put(self._arrival(entry, hashed))
            faults.point("spool.handed_over")
        done(failure)

    def _arrival(self, entry: Entry, hashed: list[str]) -> Arrival:
        about = json.loads(entry.about)
        identity = Identity(**{name: about[name] for name in Identity.__slots__})
        forget = partial(self._journal.release, entry.segment)
        if name := about.get("file"):
            file, kept = f"{self._store.incoming}/{name}", Kept(*about["kept"])
            bring, forget = partial(_linked, self._store, file, kept), partial(_drop, file, forget)
        else:
            bring = partial(self._copy, entry, hashed)
        return Arrival(identity, about["calling_ae"], bring, forget)

    def _copy(self, entry: Entry, hashed: list[str]) -> Kept:
        sha256 = hashed[0] if hashed else None
        return self._store.copy(entry.segment.handle, entry.offset, entry.size, sha256)

    def _recover(self, entries: Iterator[Entry]) -> None:
        arrivals = [self._arrival(entry, []) for entry in entries]
        if arrivals:
            log("listen").warning("store.recovered", count=len(arrivals))
            self._copier.settle(arrivals)

    def _commit_all(self) -> None:
        """Sync whatever waits, all of it at once; an error ends the journal for good."""
        failure: ProcessingFailure | None = None
        while (first := self._commits.get()) is not None:
            batch = [first, *_drain(self._commits)]
            waiting = [item for item in batch if item is not None]
            failure = failure or _sync({entry.segment for entry, _ in waiting})
            for _, done in waiting:
                done(failure)
            self._top_up()
            if len(waiting) < len(batch):
                return

    def _top_up(self) -> None:
        """A disk that is full refuses the next instance that needs a segment, nothing more."""
        try:
            self._journal.top_up()
        except OSError as error:
            log("listen").warning("store.waits", reason=as_refusal(error).code)


class FileSpool:
    """Safe from a crash of this process: one file for each instance, in the system's cache."""

    def __init__(self, store: InstanceStore, copier: Copier) -> None:
        self._store = store
        self._copier = copier

    def start(self) -> None:
        """See ``Spool``."""
        recover_files(self._store, self._copier)

    def stop(self) -> None:
        """See ``Spool``."""
        self._copier.stop()

    def keep(self, identity: Identity, calling_ae: str, incoming: Incoming, _done: Done) -> Ticket:
        """See ``Spool``."""
        file = incoming.whole_file()
        faults.point("spool.file_written")

        def settle() -> None:
            kept = Kept(incoming.sha256(), incoming.file_size)
            bring, forget = partial(_linked, self._store, file, kept), partial(os.unlink, file)
            self._copier.put(Arrival(identity, calling_ae, bring, forget))

        return Ticket(safe=True, settle=settle)


def recover_files(store: InstanceStore, copier: Copier) -> None:
    """Take over the whole files of an earlier process, delete what nobody finished, and begin."""
    arrivals = [a for file in store.incoming.glob(f"*{WHOLE}") if (a := _arrival(store, file))]
    if arrivals:
        log("listen").warning("store.recovered", count=len(arrivals))
        copier.settle(arrivals)
        faults.point("spool.files_recovered")
    store.discard_incoming()
    copier.start()


def _arrival(store: InstanceStore, file: Path) -> Arrival | None:
    if not file.name.endswith(f".{file.stat().st_size}{WHOLE}"):
        return None  # its writing was cut off, so nobody was told of it
    try:
        identity = check_file(file.read_bytes()).identity
    except Refused:
        return None
    return Arrival(identity, RECOVERED, partial(store.adopt, file), file.unlink)


def _drop(file: str, then: Callable[[], None]) -> None:
    Path(file).unlink(missing_ok=True)
    then()


def _linked(store: InstanceStore, file: str, kept: Kept) -> Kept:
    """The file itself stays until the row is written: it is all that tells of the instance."""
    store.link(file, kept)
    return kept


def _sync(segments: set[Segment]) -> ProcessingFailure | None:
    try:
        for segment in segments:
            faults.point("journal.syncing")
            segment.sync()
            faults.point("journal.synced")
    except OSError as error:
        log("listen").error("store.failed", reason="STORAGE_IO", error=type(error).__name__)
        return ProcessingFailure("the journal could not be made durable")
    return None


def _drain(
    waiting: "queue.SimpleQueue[tuple[Entry, Done] | None]",
) -> list[tuple[Entry, Done] | None]:
    """All that is in a queue now."""
    found = []
    while True:
        try:
            found.append(waiting.get_nowait())
        except queue.Empty:
            return found

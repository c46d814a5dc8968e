"""Erases the bytes of removed studies: in the background, beside all that runs.

Killed at any point, the next one goes on: what is to be erased stands in the ledger until it is
gone. An instance in a pack is overwritten by a hole; a pack of which everything is gone is deleted.
A file that has a name of its own goes when no row names it for an hour, in which nobody kept the
same bytes anew (see ``orphans``).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dicom_node import faults, orphans
from dicom_node.background import beside
from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.receive.pack import named_by
from dicom_node.receive.room import erase
from dicom_node.store import InstanceStore, sync_folder
from dicom_node.watch import Watch

LOOK_S = 60.0


class Eraser:
    """Looks once a minute for what is to be erased."""

    def __init__(
        self, ledger: Ledger, store: InstanceStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._files = Watch()
        self._is_first = True
        self._log = log("sweep")

    def once(self) -> None:
        """One look. Raises ``LedgerBusy``."""
        try:
            pending = self._ledger.erasures.packs()
            if [pack for pack in pending if self._try_to_erase_in(pack)] or self._is_first:
                self._delete_empty_packs()
            self._is_first = False
            self._delete_files()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError, **about: str) -> None:
        name = type(error).__name__
        self._log.error("store.not_erased", reason="STORAGE_IO", error=name, **about)

    def _try_to_erase_in(self, pack: str) -> bool:
        """One pack that cannot be written to must not keep the others waiting."""
        try:
            return self._erase_in(pack)
        except OSError as error:
            self._tell(error, pack=pack)
            return False

    def _erase_in(self, pack: str) -> bool:
        """Whether it was done; one that is still written to waits until it is sealed."""
        path, places = self._store.packs / pack, self._ledger.erasures.in_pack(pack)
        if path.exists():
            if named_by(path) is None:
                return False
            _erase(path, places)
        faults.point("erase.erased")
        self._ledger.erasures.erased(pack, places)
        self._log.info("store.erased", pack=pack, count=len(places))
        return True

    def _delete_empty_packs(self) -> None:
        """Not with fewer rows than its seal says: the ledger is older, the listener must look."""
        for pack, erased in self._ledger.erasures.emptied().items():
            path = self._store.packs / pack
            if path.exists():
                count = named_by(path)
                if count is None or erased < count:
                    continue
                path.unlink()
                faults.point("erase.unlinked")
                sync_folder(path.parent)
            self._ledger.erasures.forget(pack)

    def _delete_files(self) -> None:
        now, paths = self._clock(), self._store.path
        states = {name: orphans.state_of(paths(name)) for name in self._ledger.erasures.files()}
        self._files.keep_only(states)
        ripe = {
            name: state
            for name, state in states.items()
            if self._files.still_s(name, state, now) >= orphans.SETTLED_S
        }
        named = self._ledger.erasures.named(ripe)
        gone = {name for name, state in ripe.items() if name in named or self._delete(name, state)}
        if gone:
            faults.point("erase.deleted")
            self._ledger.erasures.settle(gone)
            self._log.info("store.erased", count=len(gone - named))

    def _delete(self, name: str, state: orphans.State | None) -> bool:
        path = self._store.path(name)
        return state is None or orphans.discard(path, state, self._store)


def _erase(path: Path, places: dict[int, int]) -> None:
    with path.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for offset, length in places.items():
            erase(file.fileno(), offset, max(0, min(length, size - offset)))
        os.fdatasync(file.fileno())


@contextmanager
def erasing(ledger: Ledger, store: InstanceStore) -> Iterator[None]:
    """Erase while the block runs."""
    with beside(partial(_run, ledger, store), "erase"):
        yield


def _run(ledger: Ledger, store: InstanceStore, stop: threading.Event) -> None:
    orphans.put_back(store)
    eraser = Eraser(ledger, store)
    while not stop.wait(LOOK_S):
        try:
            eraser.once()
        except LedgerBusy as busy:
            log("sweep").warning("store.not_erased", reason=busy.code)

"""Orphans: files of the store that no row names, left by processes that ended in between.

Whoever keeps a file writes its row a moment later, or minutes, for a job's results. So an orphan is
a file that was one at two looks, an hour of this process apart, and was not written anew between
them. That hour is the kernel's: nobody can set it, and no file's time is compared with any clock.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from dicom_node import faults
from dicom_node.background import beside
from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.store import InstanceStore

SETTLED_S = 3600.0
ASIDE = ".orphan"
SHA256_LENGTH = 64
State = tuple[int, int]
"""Changes when a file is written anew."""
_NEVER = threading.Event()


def remove_orphans(
    ledger: Ledger, store: InstanceStore, pause: Callable[[float], bool] = _NEVER.wait
) -> int:
    """Delete orphans; returns how many. Packs are none. Safe beside all that runs.

    ``pause`` waits for so many seconds, and is true where it was cut short.
    """
    before = strangers(ledger, store)
    if not before or pause(SETTLED_S):
        return 0
    after = strangers(ledger, store)
    doomed = [(path, state) for path, state in before.items() if after.get(path) == state]
    return sum(discard(path, state, store) for path, state in doomed)


def put_back(store: InstanceStore) -> None:
    """Return to its name what was taken away by a process that ended then: a row may name it."""
    for aside in store.incoming.glob(f"*{ASIDE}"):
        path = store.path(aside.stem)
        if len(aside.stem) != SHA256_LENGTH:
            continue
        with suppress(FileNotFoundError):  # another process was faster
            if path.exists():
                aside.unlink()
            else:
                aside.rename(path)


@contextmanager
def reaping(ledger: Ledger, store: InstanceStore) -> Iterator[None]:
    """Delete orphans, once, while the block runs."""
    with beside(partial(_reap, ledger, store), "reap"):
        yield


def strangers(ledger: Ledger, store: InstanceStore) -> dict[Path, State]:
    """The files, packs aside, that no row names now."""
    folders = [*store.places(), *(store.root / "incoming").glob("*")]
    found = {
        path: state for folder in folders for path in folder.iterdir() if (state := state_of(path))
    }
    for filed in ledger.inventory.files():
        if not filed.pack:
            found.pop(store.path(filed.sha256), None)
    return found


def _reap(ledger: Ledger, store: InstanceStore, stop: threading.Event) -> None:
    try:
        if count := remove_orphans(ledger, store, stop.wait):
            log("sweep").info("store.orphans_removed", count=count)
    except LedgerBusy as busy:
        log("sweep").warning("store.orphans_stay", reason=busy.code)
    except OSError as error:
        log("sweep").error("store.orphans_stay", reason="STORAGE_IO", error=type(error).__name__)


def discard(path: Path, state: State, store: InstanceStore) -> bool:
    """Delete a file that is in this state; whether it was.

    Take it away first: what somebody keeps under its name from then on is another file.
    """
    aside = store.incoming / f"{path.name}{ASIDE}"
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    faults.point("orphan.aside")
    if state_of(aside) == state:
        aside.unlink()
        return True
    with suppress(FileNotFoundError):  # another process has put it back
        aside.rename(path)
    return False


def state_of(path: Path) -> State | None:
    """What changes when a file is written anew; none: there is no file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns

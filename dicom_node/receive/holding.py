"""Who may write to a folder of packs: one process at a time.

Recovery cuts and rewrites what it finds, so nobody may do that to a folder that another process
appends to. The lock is flock(2) on a file beside the folder: it ends with its holder, however that
ends.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from dicom_node.domain.errors import StoreHeld
from dicom_node.observe import log

PATIENCE_S = 5.0
"""A process that was told to end may still be writing its last rows."""
LOOK_S = 0.1


class Holding:
    """Folders that this process holds, until it lets go of them."""

    def __init__(self) -> None:
        self._handles: list[int] = []

    def hold(self, folder: Path, others: Sequence[Path] = ()) -> list[Path]:
        """Hold a folder, and those of the others that nobody holds; returns what is held.

        Waits a while for who is about to end. Raises ``StoreHeld`` where the first is not free.
        """
        deadline = time.monotonic() + PATIENCE_S
        if not self._wait_for(folder, deadline):
            raise StoreHeld(
                f"another process receives into {folder}: stop it, or give this one another "
                "data_dir"
            )
        return [folder, *(other for other in others if self._wait_for(other, deadline))]

    def let_go(self) -> None:
        """Of all folders."""
        while self._handles:
            os.close(self._handles.pop())

    def _wait_for(self, folder: Path, deadline: float) -> bool:
        name = folder.with_name(f"{folder.name}.lock")
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        waits = False
        while not _lock(handle):
            if not waits:
                log("listen").warning("store.waits", reason=StoreHeld.code)
            waits = True
            if time.monotonic() >= deadline:
                log("listen").error("store.held", reason=StoreHeld.code)
                os.close(handle)
                return False
            time.sleep(LOOK_S)
        self._handles.append(handle)
        return True


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

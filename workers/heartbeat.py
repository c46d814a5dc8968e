"""Heartbeat: tells the ledger, from a thread, that a claim lives."""

import threading
from collections.abc import Callable
from types import TracebackType

from dicom_node.domain.errors import LedgerBusy, LedgerConflict

BEATS_A_LEASE = 4


class Heartbeat:
    """Beats while the block runs; ``lost`` is set once the claim belongs to nobody or another."""

    def __init__(self, beat: Callable[[], None], lease_s: float) -> None:
        self._beat = beat
        self._pause_s = lease_s / BEATS_A_LEASE
        self._stop = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            try:
                self._beat()
            except LedgerBusy:
                continue
            except LedgerConflict:
                self.lost.set()
                return

"""Signs of life: each role tells the ledger that it runs; ``dicom-node alive`` asks."""

import platform
import threading
import time
from contextlib import suppress
from types import TracebackType

from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.ledger.roles import BEAT_S


class SignOfLife:
    """Beats from a thread while the block runs."""

    def __init__(self, ledger: Ledger, role: str) -> None:
        self._ledger = ledger
        self._role = role
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sign-of-life", daemon=True)

    def __enter__(self) -> "SignOfLife":
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
        started = time.time()
        while True:
            beat(self._ledger, self._role, started)
            if self._stop.wait(BEAT_S):
                return


def beat(ledger: Ledger, role: str, started: float) -> None:
    """One sign of life; a busy ledger misses it, the next one comes soon."""
    with suppress(LedgerBusy):
        ledger.roles.beat(role, platform.node()[:64], started)


def lives_here(ledger: Ledger, role: str) -> bool:
    """Whether a role of this host spoke lately."""
    host = platform.node()[:64]
    return any(r.lives for r in ledger.roles.seen() if (r.name, r.host) == (role, host))

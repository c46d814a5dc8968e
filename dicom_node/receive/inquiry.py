"""Asks the PACS how many images it has of each study that receives, and writes it to the ledger.

In a thread of its own: an archive that does not answer makes neither listener nor sweep wait.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from dicom_node.background import beside
from dicom_node.domain.errors import LedgerBusy, PeerUnreachable
from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.observe import log
from dicom_node.send.cstore import Peer
from dicom_node.send.query import instance_counts
from dicom_node.settings.completeness import Completeness
from dicom_node.settings.node import Settings
from dicom_node.watch import Watch

ASK_AGAIN_S, LONGEST_S = 5.0, 60.0
"""Between two questions about one study; doubled while the answer stays the same."""
PAUSE_S = 30.0
"""After a question without an answer."""
LOOK_S = 1.0
MOST_AT_ONCE = 50

Ask = Callable[[Sequence[str]], Mapping[str, int]]
"""Study Instance UIDs -> how many instances the PACS has; ``PeerUnreachable``."""


@dataclass(slots=True)
class _Turn:
    """When a study is to be asked for again."""

    arrivals: int
    at: float
    pause_s: float = ASK_AGAIN_S


class Inquiry:
    """Asks for studies that have paused; call ``once`` every second."""

    def __init__(
        self,
        settings: Completeness,
        ledger: Ledger,
        ask: Ask,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_s = settings.grace_s
        self._ledger = ledger
        self._ask = ask
        self._clock = clock
        self._still = Watch()
        self._turns: dict[str, _Turn] = {}
        self._not_before = 0.0
        self._silent = False
        self._log = log("sweep")

    def once(self) -> None:
        """Ask for every study that is due. An archive that is down is left alone for a while."""
        now = self._clock()
        due = self._due(now)[:MOST_AT_ONCE]
        if not due or now < self._not_before:
            return
        try:
            counts = self._ask([study.study_instance_uid for study in due])
        except PeerUnreachable as error:
            self._not_before = self._clock() + PAUSE_S
            self._say(silent=True, reason=error.code)
            return
        self._say(silent=False)
        for study in due:
            self._take(study, counts.get(study.study_instance_uid), now)

    def _due(self, now: float) -> list[OpenStudy]:
        receiving = self._ledger.studies.receiving()
        uids = {study.study_instance_uid for study in receiving}
        self._still.keep_only(uids)
        for uid in self._turns.keys() - uids:
            del self._turns[uid]
        return [study for study in receiving if self._is_due(study, now)]

    def _is_due(self, study: OpenStudy, now: float) -> bool:
        uid = study.study_instance_uid
        paused = self._still.still_s(uid, study.arrivals, now) >= self._grace_s
        turn = self._turns.get(uid)
        return paused and (turn is None or now >= turn.at)

    def _take(self, study: OpenStudy, count: int | None, now: float) -> None:
        uid = study.study_instance_uid
        before = self._turns.get(uid)
        again = before is not None and before.arrivals == study.arrivals
        pause_s = min(2 * before.pause_s, LONGEST_S) if before and again else ASK_AGAIN_S
        self._turns[uid] = _Turn(study.arrivals, now + pause_s, pause_s)
        if count is not None:
            self._ledger.expectations.counted(uid, count, study.arrivals)

    def _say(self, *, silent: bool, reason: str = "") -> None:
        """A line when it falls silent, and one when it answers again."""
        if silent and not self._silent:
            self._log.warning("expect.unanswered", reason=reason)
        elif self._silent and not silent:
            self._log.info("expect.answered")
        self._silent = silent


@contextmanager
def inquiring(settings: Settings, ledger: Ledger) -> Iterator[None]:
    """Ask, while the block runs, where the settings name a PACS."""
    pacs = settings.completeness.pacs
    if pacs is None:
        yield
        return
    peer = Peer(pacs.host, pacs.port, pacs.ae_title, settings.listen.ae_title)
    inquiry = Inquiry(settings.completeness, ledger, partial(instance_counts, peer))
    with beside(partial(_run, inquiry), "inquiry", LOOK_S):
        yield


def _run(inquiry: Inquiry, stop: threading.Event) -> None:
    while not stop.wait(LOOK_S):
        try:
            inquiry.once()
        except LedgerBusy as busy:
            log("sweep").warning("expect.postponed", reason=busy.code)
        except Exception as error:  # noqa: BLE001 - a question that fails must not end the asking
            log("sweep").error("expect.unanswered", reason="INTERNAL", exc_info=error)

"""Retention: studies that are done are removed once the site does not want them any longer.

One study a pass, each in one transaction that looks again whether anything is to come of it
(``ledger.removals``); their bytes go later (``erasing``). Age in days can only be told by the wall
clock, and a clock that is wrong would remove all there is: so nothing is removed in the first hour
of the process, in which the clock may still be set, nor ever after it jumped ahead since.
"""

import time
from collections.abc import Callable

from dicom_node import faults
from dicom_node.domain.errors import LedgerConflict
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.settings.node import Settings

DAY_S = 86_400
LOOK_S = 60.0
"""After a look that found nothing."""
SETTLING_S = 3600.0
MOST_DRIFT_S = 600.0


class Calendar:
    """Says whether the wall clock can be believed, beside a clock that nobody can set."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._began = clock(), wall()
        self.has_jumped = False
        """Ahead, once it was believed."""

    @property
    def is_settled(self) -> bool:
        """Whether it has gone on evenly for an hour, and has not jumped ahead after such an hour.

        One that is set back, or is set while the hour runs, begins the hour anew.
        """
        began, began_wall = self._began
        passed, passed_wall = self._clock() - began, self._wall() - began_wall
        drift = passed_wall - passed
        if abs(drift) > MOST_DRIFT_S:
            self.has_jumped |= drift > 0 and passed >= SETTLING_S
            self._began = self._clock(), self._wall()
            return False
        return passed >= SETTLING_S and not self.has_jumped


class Retention:
    """Removes what is due; does nothing unless the settings say for how long to keep."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._keep_s = settings.sweep.keep_days * DAY_S
        self._answered = settings.results.answered
        self._ledger = ledger
        self._clock = clock
        self._calendar = Calendar(clock, wall)
        self._has_told = False
        self._next_at = clock()
        self._log = log("sweep")

    def once(self) -> None:
        """Remove the oldest study that is due, if there is one."""
        if not self._keep_s or self._clock() < self._next_at or not self._may_remove():
            return
        removals = self._ledger.removals
        due = removals.due(self._keep_s, self._answered)
        for uid in due:
            faults.point("retention.removing")
            try:
                removed = removals.expire(uid, self._keep_s, self._answered)
            except LedgerConflict:  # something happened to it meanwhile
                continue
            faults.point("retention.removed")
            about = {"count": removed.instances, "bytes": removed.size_bytes}
            self._log.info("study.removed", study=uid, reason="RETENTION", **about)
        if not due:
            self._next_at = self._clock() + LOOK_S

    def _may_remove(self) -> bool:
        settled = self._calendar.is_settled
        if self._calendar.has_jumped and not self._has_told:
            self._has_told = True
            advice = "check the clock of this machine, then start the sweep again"
            self._log.error("retention.stopped", reason="CLOCK_JUMP", advice=advice)
        return settled

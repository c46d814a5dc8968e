"""Watch: for how long has something stayed the same, and which pauses are over? Asked of a
monotonic clock.

The sweep judges time by what it sees itself, never by comparing wall-clock times, so that a clock
that jumps closes no study early, kills no claim, and neither ends nor prolongs a pause.
"""

import time
from collections.abc import Collection, Hashable, Sequence

from dicom_node.ledger.pauses import Pause


class Watch:
    """Remembers, for each key, the last value and since when it has been that."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def still_s(self, key: Hashable, value: Hashable, now: float) -> float:
        """Seconds for which ``key`` has shown ``value``; 0 when it is new or has just changed."""
        before = self._seen.get(key)
        if before is None or before[0] != value:
            self._seen[key] = (value, now)
            return 0.0
        return now - before[1]

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Forget every other key."""
        for key in self._seen.keys() - set(keys):
            del self._seen[key]


class PauseWatch:
    """When pauses end. Those that the first look finds began before us: of them the ledger tells
    how much is left, by the wall clock."""

    def __init__(self) -> None:
        self._ends: dict[Pause, float] = {}
        self._has_looked = False

    def over(self, pauses: Sequence[Pause], now: float) -> list[Pause]:
        """Of all pauses of the ledger those that end by ``now``, in seconds of our clock."""
        wall = time.time()
        for pause in set(pauses) - self._ends.keys():
            left_s = pause.length_s if self._has_looked else pause.left_s(wall)
            self._ends[pause] = now + left_s
        self._ends = {pause: self._ends[pause] for pause in pauses}
        self._has_looked = True
        return [pause for pause, end in self._ends.items() if end <= now]

"""Watch: for how long has something stayed the same? Asked of a monotonic clock.

The sweep judges silence by what it sees itself, never by comparing wall-clock times, so that a
clock that jumps closes no study early and kills no claim.
"""

from collections.abc import Collection, Hashable


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

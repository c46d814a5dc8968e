"""How a figure is taken: candidates in turn, round after round, medians."""

import mmap
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDS = 5
MISSED = " missed"


@dataclass(frozen=True)
class Row:
    """One line of ``bench.json``; names are ``area.case.metric``."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    ratio: float | None = None
    """Value over the peer's value of the same rounds."""
    at_most: float | None = None
    at_least: float | None = None
    """What the ratio should be; without a peer, the value."""

    @property
    def goal(self) -> str:
        """In words; with a mark where it is missed."""
        judged = self.value if self.ratio is None else self.ratio
        if self.at_most is not None:
            return f"≤ {self.at_most:g}{MISSED if judged > self.at_most else ''}"
        if self.at_least is not None:
            return f"≥ {self.at_least:g}{MISSED if judged < self.at_least else ''}"
        return ""


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def cpu_seconds(call: Callable[[], object]) -> float:
    """Processor time of one call in this process: what others run beside it does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started


def have_memory(gigabytes: float) -> None:
    """Have so much free memory that this machine really has.

    The host of a virtual machine hands memory out at the first touch, at a cost that hides what a
    receiver does, and takes back what is free for long. Disks are quiet then, too.
    """
    os.sync()
    with mmap.mmap(-1, int(gigabytes * 1e9)) as taken:
        taken.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, len(taken), mmap.PAGESIZE):
            taken[page] = 1


def in_turn(
    candidates: Mapping[str, Callable[[], float]], rounds: int = ROUNDS, *, are_warm: bool = False
) -> dict[str, list[float]]:
    """Each candidate's own figure, A B C A B C ..., after one round that does not count.

    Those that ``are_warm`` need no such round. Each is first in its turn, for what one leaves
    behind is the next one's burden.
    """
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(are_warm, rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figure = candidates[name]()
            if turn:
                figures[name].append(figure)
    return figures


def ratio(figures: Mapping[str, list[float]], ours: str, peer: str) -> float:
    """Median over the rounds of ours / peer."""
    pairs = zip(figures[ours], figures[peer], strict=True)
    return statistics.median(a / b for a, b in pairs)


def row(
    figures: Mapping[str, list[float]],
    ours: str,
    name: str,
    unit: str,
    peer: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """The median of ours, beside its peer."""
    value, beside = statistics.median(figures[ours]), ratio(figures, ours, peer)
    return Row(name, value, unit, peer, beside, at_most, at_least)

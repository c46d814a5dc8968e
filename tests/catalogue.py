"""Reads the bad-input catalogue, ``catalogue.md``."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("catalogue.md")
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


@dataclass(frozen=True, slots=True)
class Case:
    """One line: a case may have several."""

    number: int
    answer: str
    event: str
    reason: str
    tests: tuple[tuple[str, str], ...]
    """(file, function)."""


@cache
def cases() -> tuple[Case, ...]:
    lines = TABLE.read_text().splitlines()
    return tuple(_case(line) for line in lines if re.match(r"\| \d", line))


def _case(line: str) -> Case:
    number, _, answer, event, reason, tests = (cell.strip() for cell in line[1:-1].split(" | "))
    return Case(int(number), answer, event, reason, tuple(TEST.findall(tests)))


def line_of(number: int, lines: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The latest line of a log that tells a case, by its event and reason; none: no line does."""
    told = {(case.event, case.reason) for case in cases() if case.number == number}
    found = [line for line in lines if (line["event"], line.get("reason")) in told]
    return dict(found[-1]) if found else None

"""What ``card.md`` of a bundle must say, for a reader to know what to make of its answers."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dicom_node.domain.errors import ConfigurationError

PARTS = {
    "Intended use": "what it is for, and what not",
    "Training data": "what it learnt from",
    "Performance": "figures with intervals, such as 0.91 (0.86 to 0.95), or: not measured",
    "Limits": "what it does not know, or gets wrong",
}
"""The headings, of any level, and what stands under each."""
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
INTERVAL = re.compile(r"\d\s*%?\s*(?:to|-|–|,|\.\.)\s*-?\d")
MEASURED = "Measured at packaging"
SUBGROUPS = (
    "under Performance, give the figures of subgroups (sex, age, scanner, size of the finding), or "
    "say which subgroups nobody measured"
)


def refuse_silent(card: str) -> None:
    """Raise ConfigurationError for a card that leaves something out, naming all that it does."""
    lacking = list(lacks(card))
    if lacking:
        parts = "; ".join(f"## {name}: {PARTS[name]}" for name in lacking)
        raise ConfigurationError(f"card.md does not say all that a reader must know; add {parts}")


def lacks(card: str) -> Iterator[str]:
    """The parts without words; and performance without intervals, unless it was not measured."""
    said = {name: _under(card, name) for name in PARTS}
    for name, words in said.items():
        measured = "not measured" not in words.casefold()
        if not words or (name == "Performance" and measured and not INTERVAL.search(words)):
            yield name


def hides_subgroups(card: str) -> bool:
    """Whether there are figures, and no word of the subgroups that they hold for."""
    measured = "not measured" not in _under(card, "Performance").casefold()
    return measured and "subgroup" not in card.casefold()


def completed(card: str, measured: str) -> str:
    """The card with what was measured under its performance, in place of an earlier such part."""
    lines = card.splitlines()
    earlier = _part(lines, MEASURED)
    if earlier is not None:
        del lines[earlier.start : earlier.end]
    place = _part(lines, "Performance")
    if place is not None:
        heading = "#" * min(place.level + 1, 6)
        lines[place.end : place.end] = [f"{heading} {MEASURED}", "", *measured.splitlines(), ""]
    return "\n".join(lines).rstrip() + "\n"


class _Part(NamedTuple):
    """Lines under a heading, from it to the next of its level."""

    start: int
    end: int
    level: int


def _part(lines: Sequence[str], name: str) -> _Part | None:
    """The first whose heading holds a name."""
    start, level = -1, 0
    for place, line in enumerate(lines):
        heading = HEADING.match(line)
        if heading and start >= 0 and len(heading[1]) <= level:
            return _Part(start, place, level)
        if heading and start < 0 and name.casefold() in heading[2].casefold():
            start, level = place, len(heading[1])
    return None if start < 0 else _Part(start, len(lines), level)


def _under(card: str, name: str) -> str:
    """The words of a part."""
    lines = card.splitlines()
    part = _part(lines, name)
    within = lines[part.start : part.end] if part else []
    return "\n".join(line for line in within if not HEADING.match(line)).strip()

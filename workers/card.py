"""What ``card.md`` of a bundle must say, for a reader to know what to make of its answers."""

import re
from collections.abc import Iterator

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


def _under(card: str, name: str) -> str:
    """What stands under the first heading that holds a name, up to the next of its level."""
    level, words = 0, []
    for line in card.splitlines():
        heading = HEADING.match(line)
        if heading and level and len(heading[1]) <= level:
            break
        if level and not heading:
            words.append(line)
        if heading and not level and name.casefold() in heading[2].casefold():
            level = len(heading[1])
    return "\n".join(words).strip()

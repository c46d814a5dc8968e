"""Strings, numbers and times as the pages show them. Header values are hostile until shown here."""

import re
from datetime import datetime
from typing import Any

from dicom_node.domain.person import together
from dicom_node.observe import printable

LONGEST = 2000
SHORT = 96
KIB = 1024
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def neutral(value: Any) -> Any:
    """What Jinja does to every value before escaping it.

    Control, format and bidirectional characters become U+FFFD and long text is cut; markup that
    our own templates made passes; none shows as nothing.
    """
    if value is None:
        return ""
    return safe(value, LONGEST) if type(value) is str else value


def safe(value: str, longest: int) -> str:
    """Text without control characters, cut to a length."""
    if len(value) <= longest and value.isprintable():
        return value
    return printable(value, longest)


def short(value: object, longest: int = SHORT) -> str:
    """A header value cut for a table; several values are separated by a slash."""
    if value is None:
        return ""
    values = value if isinstance(value, list | tuple) else [value]
    return safe("/".join(str(v)[: longest + 1] for v in values[:16]), longest)


def person(value: object) -> str:
    """A PN value (PS3.5 section 6.2.1): ``Doe^Jane`` reads ``Doe, Jane``, other scripts follow:
    those of East Asia without a comma."""
    groups = [_name(group) for group in str(value or "")[:200].split("=")]
    first, *others = [name for name in groups if name] or [""]
    return short(f"{first} ({', '.join(others)})" if others else first)


def _name(group: str) -> str:
    family, *given = (part.strip() for part in group.split("^"))
    return together(family, " ".join(filter(None, given)))


def dicom_date(value: object) -> str:
    """A DA value as ISO 8601; anything else as it is."""
    text = short(value, 32)
    return re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", text)


def size(count: int) -> str:
    """Bytes with a binary prefix."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < KIB:
            break
        amount, unit = amount / KIB, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def iso(seconds: float) -> str:
    """A ledger time for machines."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def clock(seconds: float, now: float) -> str:
    """A ledger time in the node's time zone: the time of today, else with the date."""
    at, today = datetime.fromtimestamp(seconds), datetime.fromtimestamp(now)
    return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M}"


def zone(seconds: float) -> str:
    """The time zone of ``clock``."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Z}"


def ago(seconds: float, now: float) -> str:
    """How long ago, in the largest unit that says it."""
    passed = max(0, int(now - seconds))
    if passed < MINUTE_S:
        return "just now"
    if passed < HOUR_S:
        return f"{passed // MINUTE_S} min ago"
    return f"{passed // HOUR_S} h ago" if passed < 2 * DAY_S else f"{passed // DAY_S} days ago"


def count(number: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 studies``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"

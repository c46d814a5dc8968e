"""Text from DICOM headers is hostile input: cut it and take away what can deceive or break.

Escaping for HTML is Jinja's work; here go control characters, direction overrides (a name that
reads backwards), invisible characters and sizes that no screen holds.
"""

import unicodedata

from pydicom.valuerep import PersonName

from dicom_node.domain.person import together

MAX_SHOWN = 200
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width joiners spell words in Persian and Indic scripts; they stay."""


def clean(text: str, limit: int = MAX_SHOWN) -> str:
    """One line of visible characters, at most ``limit`` of them; a cut shows as an ellipsis."""
    raw = text[: 4 * limit + 16]
    visible = "".join(_visible(character) for character in raw)
    line = " ".join(visible.split())
    if len(line) > limit or len(text) > len(raw):
        return line[: limit - 1].rstrip() + "…"
    return line


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    hidden = unicodedata.category(character) in _INVISIBLE and character not in _JOINERS
    return "\ufffd" if hidden else character


def plain(text: str, limit: int = MAX_SHOWN) -> str:
    """The same in ASCII, for the font that is burned into pixels; accents are dropped."""
    replaced = clean(text, limit).translate({0x2026: "...", 0x2013: "-", 0x2014: "-"})
    folded = unicodedata.normalize("NFKD", replaced)
    letters = "".join(c for c in folded if not unicodedata.combining(c))
    return letters.encode("ascii", "replace").decode("ascii")


def person(name: str | PersonName) -> str:
    """A person's name as people write it: ``Family, Given``, other scripts in brackets, those of
    East Asia without a comma.

    PS3.5 section 6.2.1.2: component groups are parted by ``=``, components by ``^``.
    """
    groups = [_group(group) for group in str(name)[: 4 * MAX_SHOWN].split("=")[:3]]
    first, *others = [group for group in groups if group] or [""]
    return clean(f"{first} ({', '.join(others)})" if others else first)


def _group(group: str) -> str:
    family, given, middle, *_ = [part.strip() for part in (group + "^^").split("^")]
    givens = " ".join(part for part in (given, middle) if part)
    return together(family, givens)

"""How the components of a person's name are written together (PS3.5 section 6.2.1)."""

import unicodedata


def together(family: str, given: str) -> str:
    """``Doe, Jane``; in the scripts of East Asia without a comma."""
    joint = " " if unicodedata.east_asian_width(family[:1] or "x") == "W" else ", "
    return joint.join(part for part in (family, given) if part)

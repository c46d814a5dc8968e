"""ReportSettings, and the words that must stand in every result."""

from dataclasses import dataclass
from typing import Literal

SHORT_DISCLAIMER = "AI, not for diagnostic use"
"""Burned into pixels and written into series descriptions."""
DISCLAIMER = "Made by artificial intelligence. Research only, not for diagnostic use."
"""In the SR, the page and the PDF."""


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What a site may choose about its results."""

    series_number_base: int = 9000
    """The first number of our band: a kind of result adds its own offset."""
    language: Literal["en"] = "en"
    """Of the texts (RFC 5646)."""
    institution_name: str = ""
    """Where the node stands; empty: not written."""

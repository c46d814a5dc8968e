"""ReportSettings, and the words that must stand in every result."""

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "de", "zh-Hans"]
"""RFC 5646."""
SHORT_DISCLAIMER = "AI, not for diagnostic use"
"""Burned into pixels and written into series descriptions."""
DISCLAIMER = "Made by artificial intelligence. Research only, not for diagnostic use."
"""In the SR, the page and the PDF."""


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What a site may choose about its results."""

    series_number_base: int = 9000
    """The first number of our band: a kind of result adds its own offset."""
    language: Language = "en"
    """Of the texts."""
    institution_name: str = ""
    """Where the node stands; empty: not written."""
    segmentation: Literal["BINARY", "LABELMAP", "FRACTIONAL"] = "BINARY"
    """How masks are encoded (PS3.3 C.8.20.2.3)."""
    parametric_map: Literal["FLOAT", "INTEGER"] = "FLOAT"
    """How the values of a map are encoded."""

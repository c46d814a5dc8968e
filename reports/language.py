"""The language that results speak: gettext catalogues, numbers and dates by locale.

English is the language of the source texts. Writers and page speak the language that the case
asks for (``speaking``); whatever is said outside of that is English.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from functools import lru_cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel.dates import format_date, format_time, get_datetime_format
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent, get_decimal_symbol
from babel.support import Translations

from dicom_node.domain import wording
from reports.settings import Language

CATALOGUES = Path(__file__).parent / "locale"
LOCALES: dict[Language, str] = {"en": "en_150", "de": "de_DE", "zh-Hans": "zh_Hans_CN"}
"""For numbers and dates; English as in Europe: the day before the month, 24 hours."""
FOLDERS: dict[Language, str] = {"de": "de", "zh-Hans": "zh_Hans"}
QUANTITY = re.compile(r"([<>]?)(-?\d+(?:\.\d+)?)(%| \S+|)")
"""Sign, number, and unit or percent."""
_current: ContextVar[Language] = ContextVar("language", default="en")


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Say everything in this language until the end of the block."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def spoken() -> Language:
    """The language of this moment."""
    return _current.get()


def _(text: str) -> str:
    """A text of ours in the language that is spoken; of nothing, gettext gives its own header."""
    return _catalogue(_current.get()).gettext(text) if text else ""


def N_(text: str) -> str:  # noqa: N802 - gettext's own name
    """Mark a text for the catalogues that is translated later."""
    return text


@lru_cache
def _catalogue(language: Language) -> NullTranslations:
    """Compiled when it is first asked for: what is shipped is what translators edit."""
    if language not in FOLDERS:
        return NullTranslations()
    path = CATALOGUES / FOLDERS[language] / "LC_MESSAGES" / "reports.po"
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=FOLDERS[language]))
    compiled.seek(0)
    return Translations(compiled)


def number(value: float) -> str:
    """Three significant digits, or all before the point; no grouping, for it misleads abroad."""
    rounded = float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    return format_decimal(rounded, "0.##########", locale=LOCALES[_current.get()])


def exact(value: float) -> str:
    """A number that somebody set, with all its digits."""
    return format_decimal(float(f"{value:.10g}"), "0.##########", locale=LOCALES[_current.get()])


def fixed(value: float, digits: int) -> str:
    """A number with so many digits after the point."""
    return format_decimal(round(value, digits), f"0.{'0' * digits}", locale=LOCALES[_current.get()])


def percent(probability: float, threshold: float | None = None) -> str:
    """A probability, as ``domain.wording.percent`` says it."""
    return quantity(wording.percent(probability, threshold))


def operating_point(threshold: float) -> str:
    """The probability from which on a target counts as present."""
    return quantity(wording.operating_point(threshold))


def quantity(text: str) -> str:
    """``12.34 mm`` or ``>97%`` of an English sentence, as the country writes it; else the text."""
    match = QUANTITY.fullmatch(text)
    if match is None:
        return text
    locale = LOCALES[_current.get()]
    sign, digits, unit = match.groups()
    written = digits.replace(".", get_decimal_symbol(locale))
    if unit == "%":
        return sign + str(format_percent(0, locale=locale)).replace("0", written)
    return sign + written + unit


def day(when: date) -> str:
    """A date."""
    return format_date(when, "medium", locale=LOCALES[_current.get()])


def moment(when: datetime) -> str:
    """Date and time of day, to the minute, and of which zone where it is known."""
    locale = LOCALES[_current.get()]
    together = get_datetime_format("medium", locale=locale)
    said = str(together).format(format_time(when.time(), "short", locale=locale), day(when))
    return f"{said} UTC{when.isoformat()[-6:]}" if when.tzinfo else said

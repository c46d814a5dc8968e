"""Reads the header of one stored instance, in a process of its own: ``python -m`` this module."""

import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.domain.study import AttributeValue
from dicom_node.sandbox import serve
from dicom_node.store import StoredFile

LONGEST_TEXT, MOST_VALUES = 256, 64
FRAMES, ORIENTATION = "NumberOfFrames", "ImageOrientationPatient"
GROUPS = "SharedFunctionalGroupsSequence"
NOTES = "Notes"
"""Under this name: reason codes of what is odd in a header, and harms nothing."""
UNREADABLE = (ValueError, TypeError, ArithmeticError, AttributeError)
"""What one value of a header may raise; the others are still read."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_header(file: StoredFile, keywords: Sequence[str]) -> dict[str, AttributeValue] | None:
    """Values of a header by keyword, as JSON scalars or lists; none if it cannot be read.

    An enhanced image's orientation is taken from its shared functional group.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            wanted = ["SpecificCharacterSet", *keywords, FRAMES, ORIENTATION, GROUPS]
            with file.open() as content:
                header = dcmread(content, stop_before_pixels=True, specific_tags=wanted)
            with suppress(*UNREADABLE):
                header.decode()
            values = {key: value_of(header, key) for key in (*keywords, FRAMES)}
            values[ORIENTATION] = value_of(_plane_of(header), ORIENTATION)
            strange = any("encoding" in str(warning.message) for warning in warned)
            values[NOTES] = sorted({*(["CHARSET"] if strange else []), *_notes(header, values)})
        except Exception:  # noqa: BLE001 - the bytes are anyone's
            return None
    return values


def value_of(header: Dataset, keyword: str) -> AttributeValue:
    """A header value as a JSON scalar or a list of them; none if absent, empty or unreadable."""
    try:
        return _plain(header.get(keyword))
    except UNREADABLE:
        return None


def _plain(value: Any) -> AttributeValue:
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue | list | tuple):
        return [_scalar(v) for v in value[:MOST_VALUES]]
    scalar: AttributeValue = _scalar(value)
    return scalar


def _scalar(value: Any) -> Any:
    if isinstance(value, int | float):
        number = float(value)
        return int(number) if number.is_integer() else number
    return str(value)[:LONGEST_TEXT]


def _notes(header: Dataset, values: Mapping[str, AttributeValue]) -> Iterator[str]:
    texts = [str(header.get(key) or "") for key, value in values.items() if isinstance(value, str)]
    tests = {
        "CHARSET": lambda text: REPLACEMENT in text,
        "MARKUP": lambda text: "<" in text or "{{" in text,
        "CONTROL_CHARS": lambda text: any(unicodedata.category(c)[0] == "C" for c in text),
        "TEXT_LONG": lambda text: len(text) > LONGEST_TEXT,
    }
    yield from (code for code, holds in tests.items() if any(map(holds, texts)))
    if _is_skewed(values.get("StudyDate")):
        yield "CLOCK_SKEW"


def _is_skewed(study_date: AttributeValue) -> bool:
    """A day that does not exist, or has not come anywhere on Earth."""
    if not study_date:
        return False
    try:
        day = datetime.strptime(str(study_date), "%Y%m%d").date()
    except ValueError:
        return True
    return day > date.today() + timedelta(days=1)


def _plane_of(header: Dataset) -> Dataset:
    shared = header.get(GROUPS) or [Dataset()]
    nested = shared[0].get("PlaneOrientationSequence")
    return nested[0] if nested else header


def _answer(request: Any) -> Any:
    file = StoredFile(Path(request["path"]), request["offset"], request["size"])
    return read_header(file, request["keywords"])


if __name__ == "__main__":
    serve(_answer)

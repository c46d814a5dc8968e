"""Reads the header of one stored instance, in a process of its own: ``python -m`` this module."""

import warnings
from collections.abc import Sequence
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.domain.study import AttributeValue
from dicom_node.sandbox import serve

LONGEST_TEXT, MOST_VALUES = 256, 64
FRAMES, ORIENTATION = "NumberOfFrames", "ImageOrientationPatient"
GROUPS = "SharedFunctionalGroupsSequence"


def read_header(path: str, keywords: Sequence[str]) -> dict[str, AttributeValue] | None:
    """Values of a header by keyword, as JSON scalars or lists; none if it cannot be read.

    An enhanced image's orientation is taken from its shared functional group.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = ["SpecificCharacterSet", *keywords, FRAMES, ORIENTATION, GROUPS]
            header = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            header.decode()
            values = {key: value_of(header, key) for key in (*keywords, FRAMES)}
            values[ORIENTATION] = value_of(_plane_of(header), ORIENTATION)
        except Exception:  # noqa: BLE001 - the bytes are anyone's
            return None
    return values


def value_of(header: Dataset, keyword: str) -> AttributeValue:
    """A header value as a JSON scalar or a list of them; none if absent, empty or unreadable."""
    try:
        return _plain(header.get(keyword))
    except (ValueError, TypeError, OverflowError, ArithmeticError, AttributeError):
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


def _plane_of(header: Dataset) -> Dataset:
    shared = header.get(GROUPS) or [Dataset()]
    nested = shared[0].get("PlaneOrientationSequence")
    return nested[0] if nested else header


def _answer(request: Any) -> Any:
    return read_header(request["path"], request["keywords"])


if __name__ == "__main__":
    serve(_answer)

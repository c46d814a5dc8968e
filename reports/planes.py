"""Where a source frame lies in the patient, as its own header says (PS3.3 C.7.6.2, C.7.6.16.2).

Numbers are taken from the header and not from the affine of the analysis: results then hold the
very positions of their source, and viewers that match frames by position find them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

NOTICEABLE = 1e-4
"""Error of a direction cosine that validators notice."""


def functional_group(header: Dataset, frame_number: int | None, keyword: str) -> Dataset:
    """The item of a functional group for a frame, from 1; the header itself if it has none."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    groups = [per_frame[frame_number - 1]] if per_frame and frame_number else []
    groups += header.get("SharedFunctionalGroupsSequence") or []
    found = [group[keyword].value for group in groups if group.get(keyword)]
    return found[0][0] if found else header


def position(header: Dataset, frame_number: int | None) -> list[str] | None:
    """Image Position (Patient) of a frame, as decimal strings; none where it is not stated."""
    group = functional_group(header, frame_number, "PlanePositionSequence")
    return _decimals(group.get("ImagePositionPatient"), 3)


def orientation(header: Dataset, frame_number: int | None) -> list[str] | None:
    """Image Orientation (Patient) of a frame: of unit length and square, whatever the source says.

    Scanners round direction cosines; a derived object must not repeat that (PS3.3 C.7.6.2.1.1).
    """
    group = functional_group(header, frame_number, "PlaneOrientationSequence")
    values = _decimals(group.get("ImageOrientationPatient"), 6)
    return None if values is None else [decimal(v) for v in unit_cosines(values)]


def unit_cosines(values: Sequence[Any]) -> NDArray[np.float64]:
    """(6,): the row and column directions, made orthogonal and of length 1."""
    row, column = np.array([float(value) for value in values]).reshape(2, 3)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return np.concatenate([row, column / np.linalg.norm(column)])


def decimal(value: float) -> str:
    """A number as a decimal string of at most 16 characters (PS3.5 section 6.2)."""
    return format_number_as_ds(float(value) + 0.0)


def _decimals(values: Any, count: int) -> list[str] | None:
    if not values or len(values) != count:
        return None
    return [str(value) for value in values]

"""Grey levels for display: the VOI window of the source, or a sensible one (PS3.3 C.11.2)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import FloatArray

DARK, BRIGHT = 1.0, 99.0
"""Percentiles shown as black and white where the source names no window."""


def gray(
    plane: FloatArray,
    header: Dataset,
    frame_number: int | None = None,
    like: FloatArray | None = None,
) -> FloatArray:
    """Scale one frame to 0 (black) to 1 (white), (rows, columns).

    ``plane`` holds values after the modality LUT. The first window of the image is used, else its
    first VOI LUT, else the range of the plane itself, or of the one that it must look ``like``.
    MONOCHROME1 shows low values bright.
    """
    levels = voi_levels(plane, header, frame_number, like)
    return 1 - levels if header.get("PhotometricInterpretation") == "MONOCHROME1" else levels


def voi_levels(
    plane: FloatArray,
    header: Dataset,
    frame_number: int | None = None,
    like: FloatArray | None = None,
) -> FloatArray:
    """The same, with MONOCHROME1 left as it is stored."""
    return _levels(plane, _voi_module(header, frame_number), plane if like is None else like)


def _levels(plane: FloatArray, module: Dataset, like: FloatArray) -> FloatArray:
    if (stated := first_window(module)) is not None:
        return _windowed(plane, *stated, str(module.get("VOILUTFunction") or "LINEAR"))
    if module.get("VOILUTSequence"):
        return _looked_up(plane, module.VOILUTSequence[0])
    dark, bright = np.percentile(like, [DARK, BRIGHT])
    return _unit((plane - dark) / max(float(bright - dark), 1e-6))


def first_window(module: Dataset) -> tuple[float, float] | None:
    """Centre and width; none where one is missing, or nothing is between black and white."""
    center, width = _first(module.get("WindowCenter")), _first(module.get("WindowWidth"))
    return (center, width) if center is not None and width is not None and width > 0 else None


def _unit(values: ArrayLike) -> FloatArray:
    return np.clip(np.asarray(values, dtype=np.float32), np.float32(0), np.float32(1))


def _windowed(plane: FloatArray, center: float, width: float, function: str) -> FloatArray:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return _unit(1 / (1 + np.exp(np.clip(-4 * (plane - center) / width, -50, 50))))
    if function == "LINEAR_EXACT" or width <= 1:
        return _unit((plane - center) / width + 0.5)
    return _unit((plane - (center - 0.5)) / (width - 1) + 0.5)


def _looked_up(plane: FloatArray, lut: Dataset) -> FloatArray:
    """PS3.3 C.11.2.1.1."""
    count, first, bits = (int(value) for value in lut.LUTDescriptor)
    table = np.asarray(_entries(lut.LUTData), dtype=np.float32)[: count or 65536]
    index = np.clip(np.rint(plane) - first, 0, len(table) - 1).astype(int)
    return _unit(table[index] / (2**bits - 1))


def _entries(data: Any) -> Sequence[int] | NDArray[np.uint16]:
    return np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else data


def _first(value: Any) -> float | None:
    values: Iterable[Any] = value if hasattr(value, "append") else [value]
    for candidate in values:
        try:
            return float(candidate)
        except (TypeError, ValueError):
            continue
    return None


def _voi_module(header: Dataset, frame_number: int | None) -> Dataset:
    """Where the window stands: in the functional groups of a multi-frame image, or at the root."""
    groups = []
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if per_frame and frame_number is not None:
        groups.append(per_frame[frame_number - 1])
    groups += header.get("SharedFunctionalGroupsSequence") or []
    found = [group.FrameVOILUTSequence[0] for group in groups if group.get("FrameVOILUTSequence")]
    return found[0] if found else header

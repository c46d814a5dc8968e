"""Grey levels for display: the VOI window of the source, or a sensible one (PS3.3 C.11.2)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import FloatArray

DARK, BRIGHT = 1.0, 99.0
"""Percentiles shown as black and white where the source names no window."""


def gray(plane: FloatArray, header: Dataset, frame_number: int | None = None) -> FloatArray:
    """Scale one frame to 0 (black) to 1 (white), (rows, columns).

    ``plane`` holds values after the modality LUT. The first window of the image is used, else its
    first VOI LUT, else the range of the plane itself. MONOCHROME1 shows low values bright.
    """
    module = _voi_module(header, frame_number)
    levels = _levels(plane, module)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        levels = 1 - levels
    return levels.astype(np.float32)


def _levels(plane: FloatArray, module: Dataset) -> NDArray[np.floating]:
    center, width = _first(module.get("WindowCenter")), _first(module.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        function = str(module.get("VOILUTFunction") or "LINEAR")
        return _windowed(plane, center, width, function)
    if module.get("VOILUTSequence"):
        return _looked_up(plane, module.VOILUTSequence[0])
    dark, bright = np.percentile(plane, [DARK, BRIGHT])
    return np.clip((plane - dark) / max(float(bright - dark), 1e-6), 0, 1)


def _windowed(
    plane: FloatArray, center: float, width: float, function: str
) -> NDArray[np.floating]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (plane - center) / width, -50, 50)))
    if function == "LINEAR_EXACT" or width <= 1:
        return np.clip((plane - center) / width + 0.5, 0, 1)
    return np.clip((plane - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _looked_up(plane: FloatArray, lut: Dataset) -> NDArray[np.floating]:
    """PS3.3 C.11.2.1.1."""
    count, first, bits = (int(value) for value in lut.LUTDescriptor)
    table = np.asarray(_entries(lut.LUTData), dtype=np.float32)[: count or 65536]
    index = np.clip(np.rint(plane) - first, 0, len(table) - 1).astype(int)
    return table[index] / (2**bits - 1)


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

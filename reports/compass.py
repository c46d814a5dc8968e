"""Where is left: orientation letters, the place of a slice and a scale bar for a picture."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.images import SourceImages
from reports.language import _, fixed

LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Towards higher and lower coordinates (PS3.3 C.7.6.1.1.1)."""
MINOR_COSINE = 0.2
"""Below it (11 degrees) a direction's second letter would only clutter."""
BARS_CM = (20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
BAR_PART = 0.32
"""A scale bar takes at most this part of the picture's width."""
OPPOSITE = str.maketrans("LRPAHF", "RLAPFH")


def edge_letters(images: SourceImages, header: Dataset) -> tuple[str, str, str, str] | None:
    """Letters for the left, right, top and bottom edge; none where nothing is known."""
    if images.affine is not None:
        right, bottom = _letters(images.affine[:3, 2]), _letters(images.affine[:3, 1])
    else:
        stated = [str(part)[:3] for part in header.get("PatientOrientation") or ()]
        if len(stated) != 2 or not all(stated):
            return None
        right, bottom = stated
    return right.translate(OPPOSITE), right, bottom.translate(OPPOSITE), bottom


def _letters(direction: NDArray[np.float64]) -> str:
    cosines = direction / max(float(np.linalg.norm(direction)), 1e-9)
    order = np.argsort(-np.abs(cosines), kind="stable")
    kept = [i for n, i in enumerate(order) if n == 0 or abs(cosines[i]) >= MINOR_COSINE]
    return "".join(LETTERS[i][0 if cosines[i] > 0 else 1] for i in kept)


def place(images: SourceImages, frame: int, header: Dataset) -> str:
    """``Series 2, image 13, H 57.5 mm``: how to find the slice in a viewer."""
    parts = []
    if header.get("SeriesNumber") is not None:
        parts.append(_("Series {}").format(header.SeriesNumber))
    if header.get("InstanceNumber") is not None:
        parts.append(_("image {}").format(header.InstanceNumber))
    if images.frames[frame].frame_number is not None:
        parts.append(_("frame {}").format(images.frames[frame].frame_number))
    if position := slice_position(images, frame):
        parts.append(position)
    alone = _("slice {} of {}").format(frame + 1, len(images.frames))
    return _(", ").join(parts) or alone


def slice_position(images: SourceImages, frame: int) -> str:
    """Coordinate of the slice's middle along the axis that it is most square to: ``H 57.5 mm``."""
    rows, columns = images.pixels.shape[1:]
    middle = images.to_patient((frame, (rows - 1) / 2, (columns - 1) / 2))
    if middle is None or images.affine is None:
        return ""
    normal = np.cross(images.affine[:3, 1], images.affine[:3, 2])
    axis = int(np.argmax(np.abs(normal)))
    return coordinate(middle[axis], axis)


def coordinate(value_mm: float, axis: int) -> str:
    """One patient coordinate with its letter: ``L 12.0 mm`` is x = +12."""
    return f"{LETTERS[axis][0 if value_mm >= 0 else 1]} {fixed(abs(value_mm), 1)} mm"


def pixel_size_mm(images: SourceImages, header: Dataset) -> tuple[float, float, str | None]:
    """Height and width of a pixel, and where that is true; None: only their ratio is known, if so.

    Projection images state the spacing of their detector, which magnifies.
    """
    if images.affine is not None:
        _slices, height, width = images.spacing_mm
        return height, width, ""
    for keyword, where in (("PixelSpacing", ""), ("ImagerPixelSpacing", _(" at detector"))):
        if spacing := header.get(keyword):
            return float(spacing[0]), float(spacing[1]), where
    height, width = (float(part) for part in header.get("PixelAspectRatio") or (1, 1))
    return (height / width, 1.0, None) if height > 0 and width > 0 else (1.0, 1.0, None)


def bar_cm(width_mm: float) -> float | None:
    """The longest round length that fits; none for a picture of less than 3 mm."""
    return next((cm for cm in BARS_CM if cm * 10 <= width_mm * BAR_PART), None)

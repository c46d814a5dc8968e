"""Pixels that are none: what an image is filled up with (PS3.3 C.7.5.1.1.2)."""

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.images import SourceImages
from workers.pixels import meaning, reading


def padding(images: SourceImages) -> BoolArray | None:
    """(frames, rows, columns): what the headers call padding; none where nothing is.

    Raises UndecodablePixels (VALUE) for a padding value that cannot be used as a number.
    """
    headers = {str(header.SOPInstanceUID): header for header in images.datasets}
    ends = [_ends(headers.get(f.sop_instance_uid), f.frame_number) for f in images.frames]
    if not any(ends):
        return None
    found = np.zeros(images.pixels.shape, bool)
    for mask, plane, stated in zip(found, images.pixels, ends, strict=True):
        if stated is not None:
            mask[:] = (plane >= stated[0]) & (plane <= stated[1])
    return found if found.any() else None


def darkened(images: SourceImages, none: BoolArray) -> FloatArray:
    """(frames, rows, columns): the pixels, with padding as dark as the darkest of its image."""
    headers = {str(header.SOPInstanceUID): header for header in images.datasets}
    pixels = images.pixels.copy()
    for plane, mask, frame in zip(pixels, none, images.frames, strict=True):
        if not mask.all():
            shown = headers[frame.sop_instance_uid].get("PhotometricInterpretation")
            plane[mask] = (np.max if shown == "MONOCHROME1" else np.min)(plane[~mask])
    return pixels


def _ends(header: Dataset | None, frame_number: int | None) -> tuple[float, float] | None:
    """The lowest and the highest value of padding, after the modality LUT or rescale."""
    if header is None or header.get("PixelPaddingValue") is None:
        return None
    uid = str(header.SOPInstanceUID)
    with reading(uid):
        value = int(header.PixelPaddingValue)
        limit = header.get("PixelPaddingRangeLimit")
        sign = "i" if header.get("PixelRepresentation") else "u"
        kind = np.dtype(f"{sign}{int(header.BitsAllocated) // 8}")  # some state it with the other
        stored = np.array([[value, value if limit is None else int(limit)]]).astype(kind)
        known = meaning(header, uid, (frame_number or 1) - 1, stored)
    return float(known.min()), float(known.max())

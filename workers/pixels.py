"""Stored pixels of one instance -> numbers with a meaning, or the reason why not.

Headers may be looked at anywhere; ``planes`` is for the process that may die of it (``reader``).
The checks stand before the decoder, for a decoder reads on past what a header promises
(reference catalogue of bad inputs, cases 46 to 50, 60, 61 and 66).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UndecodablePixels

MAX_PIXELS, MAX_FRAMES = 2**30, 2**16
"""Of one series: 4 GiB as float32."""
GREY = ("MONOCHROME1", "MONOCHROME2")
ALLOCATED = (8, 16, 32)
REFUSALS: Mapping[str, str] = {
    "UNPARSEABLE": "cannot be parsed as a DICOM file",
    "HEADER_LIMIT": "has a header that takes more memory or time than it may",
    "ALTERED": "is not stored as it was received, or cannot be read back; run dicom-node verify",
    "UNSUPPORTED": "is no grey-level image with integer pixels",
    "PIXEL_LIMIT": "has more pixels than one series may have",
    "PIXEL_ATTR": "has size, bit or sample attributes that contradict each other",
    "PIXEL_LENGTH": "has fewer or more pixel bytes than its header says",
    "FRAME_COUNT": "holds another number of frames, or of pixels, than its header says",
    "DECODER": "is not decoded by this install, or kills its decoder; see dicom-node doctor",
    "VALUE": "has a header that lacks a value, or holds one that cannot be used as a number; look "
    "at it with dcmdump and correct it at the sender",
}
"""Why an image is not read, by reason code."""


def refusal(uid: str, code: str) -> UndecodablePixels:
    """The error for an instance, or a stored object, that is not read."""
    return UndecodablePixels(f"instance {uid} {REFUSALS[code]}", code=code)


@contextmanager
def reading(sop_instance_uid: str) -> Iterator[None]:
    """Turn pydicom's complaints about header values into an Unusable with the code VALUE."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise refusal(sop_instance_uid, "VALUE") from error


def functional_group(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The item of a functional group for a frame (from 0), or none (PS3.3 C.7.6.16.1.2)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    groups = [per_frame[frame]] if per_frame else []
    groups += [shared[0]] if shared else []
    found = next((group[keyword].value for group in groups if group.get(keyword)), None)
    return found[0] if found else None


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames; 1 where it is absent."""
    return int(dataset.get("NumberOfFrames") or 1)


def pixel_count(dataset: Dataset) -> int:
    """Of all frames together."""
    return int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)


def check_header(dataset: Dataset) -> None:
    """What can be known without the pixels.

    Raises UndecodablePixels (UNSUPPORTED, PIXEL_LIMIT, PIXEL_ATTR, VALUE).
    """
    uid = _uid(dataset)
    with reading(uid):
        grey = dataset.get("PhotometricInterpretation") in GREY
        if not grey or int(dataset.BitsAllocated) not in ALLOCATED:
            raise refusal(uid, "UNSUPPORTED")
        if pixel_count(dataset) > MAX_PIXELS or frame_count(dataset) > MAX_FRAMES:
            raise refusal(uid, "PIXEL_LIMIT")
        _check_attributes(dataset, uid)


def planes(dataset: Dataset) -> Iterator[FloatArray]:
    """Each frame as float32 (rows, columns), after the modality LUT or rescale (PS3.3 C.11.1).

    Raises UndecodablePixels (as ``check_header``; PIXEL_LENGTH, FRAME_COUNT, DECODER).
    """
    check_header(dataset)
    uid, shape, left = _uid(dataset), (dataset.Rows, dataset.Columns), frame_count(dataset)
    with reading(uid):
        _check_data(dataset, uid)
    for frame, plane in enumerate(_stored(dataset, uid)):
        left -= 1
        if plane.shape != shape or left < 0:
            raise refusal(uid, "FRAME_COUNT")
        with reading(uid):
            known = meaning(dataset, uid, frame, plane)
        yield known
    if left:
        raise refusal(uid, "FRAME_COUNT")


def _uid(dataset: Dataset) -> str:
    return str(dataset.get("SOPInstanceUID", "without UID"))


def _check_attributes(dataset: Dataset, uid: str) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    fits = 0 < stored <= allocated and high == stored - 1
    is_empty = min(int(dataset.Rows), int(dataset.Columns), frame_count(dataset)) < 1
    if not fits or is_empty or int(dataset.SamplesPerPixel) != 1:
        raise refusal(uid, "PIXEL_ATTR")


def _check_data(dataset: Dataset, uid: str) -> None:
    if dataset.get("PixelData") is None:
        raise refusal(uid, "UNSUPPORTED")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_fragments(dataset, uid)
    else:
        _check_length(dataset, uid)


def _check_length(dataset: Dataset, uid: str) -> None:
    expected = pixel_count(dataset) * int(dataset.BitsAllocated) // 8
    if len(dataset.PixelData) not in (expected, expected + expected % 2):
        raise refusal(uid, "PIXEL_LENGTH")


def _check_fragments(dataset: Dataset, uid: str) -> None:
    frames = frame_count(dataset)
    offsets = parse_basic_offsets(dataset.PixelData)
    fragments, _ = parse_fragments(dataset.PixelData[8 + 4 * len(offsets) :])
    if fragments < frames or len(offsets) not in (0, frames):
        raise refusal(uid, "FRAME_COUNT")


def _stored(dataset: Dataset, uid: str) -> Iterator[np.ndarray]:
    try:
        yield from iter_pixels(dataset)
    except MemoryError:
        raise
    except Exception as error:  # the bytes are anyone's, and every plug-in has errors of its own
        raise refusal(uid, "DECODER") from error


def meaning(dataset: Dataset, uid: str, frame: int, plane: np.ndarray) -> FloatArray:
    """Stored values of a frame (from 0) in the units of its modality: HU for CT.

    Raises UndecodablePixels (VALUE).
    """
    source = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    if "RescaleSlope" in source or source.get("RescaleIntercept"):
        slope, intercept = float(source.RescaleSlope), float(source.RescaleIntercept)
        if not (isfinite(slope) and isfinite(intercept)) or slope == 0:
            raise refusal(uid, "VALUE")
    known = np.asarray(apply_modality_lut(plane, source), dtype=np.float32)
    if not np.isfinite(known).all():
        raise refusal(uid, "VALUE")
    return known

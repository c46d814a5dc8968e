"""Stored pixels of one instance -> numbers with a meaning, or the reason why not.

The checks stand before the decoder, for a decoder reads on past what a header promises
(reference catalogue of bad inputs, cases 46 to 50, 60, 61 and 66).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import DicomNodeError, UndecodablePixels, Unusable
from dicom_node.sandbox import ChildDied
from workers.decoder import Decoder

MAX_PIXELS = 2**30
"""Of one series: 4 GiB as float32."""
_decoder = Decoder()
GREY = ("MONOCHROME1", "MONOCHROME2")
ALLOCATED = (8, 16, 32)


@contextmanager
def reading(sop_instance_uid: str) -> Iterator[None]:
    """Turn pydicom's complaints about header values into an Unusable with the code VALUE."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise Unusable(
            f"the header of instance {sop_instance_uid} lacks a value, or holds one that cannot "
            "be read as a number; look at it with dcmdump and correct it at the sender",
            code="VALUE",
        ) from error


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

    Raises UndecodablePixels (UNSUPPORTED, PIXEL_LIMIT, PIXEL_ATTR) and Unusable (VALUE).
    """
    uid = str(dataset.get("SOPInstanceUID", "without UID"))
    with reading(uid):
        grey = dataset.get("PhotometricInterpretation") in GREY
        if not grey or int(dataset.BitsAllocated) not in ALLOCATED:
            raise _refusal(uid, "UNSUPPORTED", "is no grey-level image with integer pixels")
        if pixel_count(dataset) > MAX_PIXELS:
            raise _refusal(uid, "PIXEL_LIMIT", "has more pixels than one series may have")
        _check_bits(dataset, uid)


def read_pixels(dataset: Dataset) -> FloatArray:
    """Float32 (frames, rows, columns), after the modality LUT or rescale (PS3.3 C.11.1).

    Raises UndecodablePixels (as ``check_header``; PIXEL_LENGTH, FRAME_COUNT, DECODER) and Unusable
    (VALUE).
    """
    check_header(dataset)
    uid = str(dataset.get("SOPInstanceUID", "without UID"))
    with reading(uid):
        _check_data(dataset, uid)
    stored = _decode(dataset, uid)
    with reading(uid):
        return np.stack([_meaning(dataset, uid, n, plane) for n, plane in enumerate(stored)])


def _check_data(dataset: Dataset, uid: str) -> None:
    if dataset.get("PixelData") is None:
        raise _refusal(uid, "UNSUPPORTED", "is no grey-level image with integer pixels")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_fragments(dataset, uid)
    else:
        _check_length(dataset, uid)


def _check_bits(dataset: Dataset, uid: str) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    fits = 0 < stored <= allocated and high == stored - 1
    if not fits or int(dataset.SamplesPerPixel) != 1:
        raise _refusal(uid, "PIXEL_ATTR", "has bit or sample attributes that contradict each other")


def _check_length(dataset: Dataset, uid: str) -> None:
    expected = pixel_count(dataset) * int(dataset.BitsAllocated) // 8
    if len(dataset.PixelData) not in (expected, expected + expected % 2):
        raise _refusal(uid, "PIXEL_LENGTH", "has fewer or more pixel bytes than its header says")


def _check_fragments(dataset: Dataset, uid: str) -> None:
    frames = frame_count(dataset)
    offsets = parse_basic_offsets(dataset.PixelData)
    fragments, _ = parse_fragments(dataset.PixelData[8 + 4 * len(offsets) :])
    if fragments < frames or len(offsets) not in (0, frames):
        raise _refusal(uid, "FRAME_COUNT", "holds another number of frames than its header says")


def _decode(dataset: Dataset, uid: str) -> np.ndarray:
    """What is compressed is decoded where a crash is no one's but its own."""
    apart = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    try:
        stored = _decoder.decode(dataset) if apart else pixel_array(dataset)
    except (ChildDied, ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        raise _refusal(uid, "DECODER", "was too much for a decoder of this install") from error
    if stored is None:
        raise _refusal(
            uid, "DECODER", "is not decoded by any plug-in of this install; see dicom-node doctor"
        )
    shape = (frame_count(dataset), dataset.Rows, dataset.Columns)
    if stored.size != np.prod(shape):
        raise _refusal(uid, "FRAME_COUNT", "decodes to another size than its header says")
    return stored.reshape(shape)


def _meaning(dataset: Dataset, uid: str, frame: int, plane: np.ndarray) -> FloatArray:
    """One frame in the units of its modality: HU for CT."""
    source = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    if "RescaleSlope" in source:
        slope, intercept = float(source.RescaleSlope), float(source.RescaleIntercept)
        if not (isfinite(slope) and isfinite(intercept)) or slope == 0:
            raise Unusable(
                f"the rescale slope or intercept of instance {uid} is no usable number: "
                "correct it at the sender",
                code="VALUE",
            )
    return np.asarray(apply_modality_lut(plane, source), dtype=np.float32)


def _refusal(uid: str, code: str, what: str) -> DicomNodeError:
    return UndecodablePixels(f"instance {uid} {what}", code=code)

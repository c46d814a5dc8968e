"""DICOM SEG: the masks, voxel for voxel on the grid of the source (PS3.3 A.51).

BINARY is what every viewer of segmentations reads. LABELMAP is smaller, FRACTIONAL keeps the
network's probabilities inside the outlines; a site chooses them for viewers that read them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, SegmentationStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import SegmentMask
from dicom_node.domain.images import FrameReference
from reports.case import Case
from reports.identity import identify, series_description
from reports.multiframe import Derived, Dimension, describe, require_frame_of_reference
from reports.segments import background, description, overlapping
from reports.verdict import name_our_codes

Segments = Sequence[SegmentMask]
SEGMENT = Dimension("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")
LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (Supplement 243)."""
FULL = 255
"""Stored value of a probability of 1."""
MOST_IN_A_BYTE = 255


@dataclass(frozen=True, slots=True)
class SegmentationWriter:
    """Writes one SEG, or nothing where no segment was found.

    What is segmented is of one series: a manifest that would have it otherwise is refused.
    """

    kind: ClassVar[ResultKind] = ResultKind.SEGMENTATION

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance, or none; a LABELMAP whose segments would overlap becomes BINARY.

        Raises ``UnsupportedGeometry`` where a stack of images names no frame of reference.
        """
        segments = sorted(case.analysis.segments, key=lambda segment: segment.number)
        if not segments:
            return []
        require_frame_of_reference(case)
        dataset = _segmentation(case, segments)
        identify(dataset, case, ResultKind.SEGMENTATION)
        name_our_codes(dataset, dataset.SegmentSequence)
        return [ResultInstance(ResultKind.SEGMENTATION, dataset)]


def _segmentation(case: Case, segments: Segments) -> Dataset:
    dataset = Dataset()
    overlap = overlapping(segments)
    encoding = case.settings.segmentation
    if encoding == "LABELMAP" and overlap:
        encoding = "BINARY"
    dataset.SOPClassUID = SegmentationStorage
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "AI_SEGMENTATION"
    dataset.ContentDescription = series_description(case.maker, ResultKind.SEGMENTATION)
    dataset.ContentCreatorName = None
    dataset.SegmentationType = encoding
    dataset.SegmentsOverlap = "YES" if overlap else "NO"
    dataset.SegmentSequence = [description(case, segment) for segment in segments]
    _ENCODINGS[encoding](dataset, case, segments)
    return dataset


def _binary(dataset: Dataset, case: Case, segments: Segments) -> None:
    """One bit a voxel, and a frame for each slice that a segment touches."""
    frames = _frames_of_segments(dataset, case, segments)
    planes = (segment.mask[frame] for segment, frame in frames)
    _pixels(dataset, 1, _packed(list(planes)))


def _fractional(dataset: Dataset, case: Case, segments: Segments) -> None:
    """The probability of each voxel inside the outline, 0 outside."""
    dataset.SegmentationFractionalType = "PROBABILITY"
    dataset.MaximumFractionalValue = FULL
    frames = _frames_of_segments(dataset, case, segments)
    _pixels(dataset, 8, b"".join(_probability(case, *each).tobytes() for each in frames))


def _label_map(dataset: Dataset, case: Case, segments: Segments) -> None:
    """The number of the segment at each voxel, and a frame for each slice that any touches."""
    dataset.SOPClassUID = LABEL_MAP_STORAGE
    dataset.SegmentSequence = [background(), *dataset.SegmentSequence]
    dataset.add(DataElement("PixelPaddingValue", "US", 0))
    touched = sorted({frame for segment in segments for frame in segment.frames})
    frames = [Derived(frame) for frame in touched]
    describe(dataset, case, frames, derivation=codes.cid7203.SegmentationImageDerivation)
    deep = segments[-1].number > MOST_IN_A_BYTE
    planes = (_labels(segments, frame, np.dtype("<u2" if deep else "u1")) for frame in touched)
    _pixels(dataset, 16 if deep else 8, b"".join(plane.tobytes() for plane in planes))


_ENCODINGS: Mapping[str, Callable[[Dataset, Case, Segments], None]] = {
    "BINARY": _binary,
    "FRACTIONAL": _fractional,
    "LABELMAP": _label_map,
}


def _frames_of_segments(
    dataset: Dataset, case: Case, segments: Segments
) -> list[tuple[SegmentMask, int]]:
    """Describe a frame for each segment and slice that it touches; return both in that order."""
    frames = [(segment, frame) for segment in segments for frame in segment.frames]
    identified = {segment.number: _identification(segment.number) for segment in segments}
    describe(
        dataset,
        case,
        [Derived(frame, (s.number,), identified[s.number]) for s, frame in frames],
        derivation=codes.cid7203.SegmentationImageDerivation,
        dimensions=[SEGMENT],
    )
    return frames


def _identification(number: int) -> dict[str, list[Dataset]]:
    item = Dataset()
    item.ReferencedSegmentNumber = number
    return {SEGMENT.group: [item]}


def _packed(planes: Sequence[NDArray[np.bool_]]) -> bytes:
    """Bits of all frames without a gap between them (PS3.5 section 8.2)."""
    if planes[0].size % 8:
        planes = [np.concatenate([plane.ravel() for plane in planes])]
    return b"".join(np.packbits(plane, bitorder="little").tobytes() for plane in planes)


def _probability(case: Case, segment: SegmentMask, frame: int) -> NDArray[np.uint8]:
    likely = case.analysis.prediction.masks[frame, :, :, segment.channel]
    return np.where(segment.mask[frame], np.rint(likely * FULL), 0).astype(np.uint8)


def _labels(
    segments: Segments, frame: int, dtype: np.dtype[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    labels = np.zeros(segments[0].mask.shape[1:], dtype)
    for segment in segments:
        labels[segment.mask[frame]] = segment.number
    return labels


def _pixels(dataset: Dataset, bits: int, data: bytes) -> None:
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def frame_number(segmentation: Dataset, segment: SegmentMask, source: FrameReference) -> int:
    """The frame, from 1, of a SEG that shows a segment in a source image.

    Raises ``StopIteration`` where there is none.
    """
    groups = segmentation.PerFrameFunctionalGroupsSequence
    return next(n for n, group in enumerate(groups, 1) if _shows(group, segment, source))


def _shows(group: Dataset, segment: SegmentMask, source: FrameReference) -> bool:
    numbers = [i.ReferencedSegmentNumber for i in group.get("SegmentIdentificationSequence", ())]
    image = group.DerivationImageSequence[0].SourceImageSequence[0]
    there = (image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber"))
    return segment.number in (numbers or [segment.number]) and there == (
        source.sop_instance_uid,
        source.frame_number,
    )

"""One series of DICOM files -> SourceImages in geometric order, or the reason why not.

Geometry comes from the headers alone, never from file names, instance numbers or the order of
arrival (PS3.3 C.7.6.2.1.1). A series that holds a position more than once (time points, echoes)
is refused with SLICE_SET: which of its volumes is meant is for a manifest's selection to say.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.domain.analysis import FloatArray, FrameReference, SourceImages
from dicom_node.domain.errors import (
    IncompleteStudy,
    UndecodablePixels,
    UnsupportedGeometry,
    Unusable,
)
from workers.geometry import Plane, plane_of, stack
from workers.pixels import MAX_PIXELS, frame_count, read_pixels, reading
from workers.progress import Progress, silent

TOMOGRAPHIC = frozenset(
    {
        uids.CTImageStorage,
        uids.EnhancedCTImageStorage,
        uids.LegacyConvertedEnhancedCTImageStorage,
        uids.MRImageStorage,
        uids.EnhancedMRImageStorage,
        uids.LegacyConvertedEnhancedMRImageStorage,
        uids.PositronEmissionTomographyImageStorage,
        uids.EnhancedPETImageStorage,
        uids.LegacyConvertedEnhancedPETImageStorage,
    }
)
"""Classes whose images must lie somewhere in the patient; others may."""


def read_series(paths: Sequence[Path], progress: Progress = silent) -> SourceImages:
    """All frames of one series, sorted along the normal of its images.

    ``paths`` are DICOM files in any order, single-frame or multi-frame. Images of classes without
    a plane in the patient (CR, DX) keep the order of their instance numbers and have no affine.

    Raises IncompleteStudy (no file), UndecodablePixels (codes as ``read_pixels``, UNPARSEABLE),
    UnsupportedGeometry (GEOMETRY, SLICE_SET), Unusable (VALUE, PATIENT_MIX).
    """
    if not paths:
        raise IncompleteStudy("the series has no images to read")
    datasets, pixels = [], []
    for number, path in enumerate(paths):
        dataset = _open(path)
        pixels.append(read_pixels(dataset))
        del dataset.PixelData
        datasets.append(dataset)
        _refuse_flood(pixels)
        progress("reading", (number + 1) / len(paths))
    _refuse_mixtures(datasets, pixels)
    return _sorted(datasets, np.concatenate(pixels))


def _open(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError) as error:
        raise UndecodablePixels(
            f"the stored object {path.name} cannot be parsed as a DICOM file", code="UNPARSEABLE"
        ) from error


def _refuse_flood(pixels: Sequence[FloatArray]) -> None:
    if sum(part.size for part in pixels) > MAX_PIXELS:
        raise UndecodablePixels("the series has more pixels than may be read", code="PIXEL_LIMIT")


def _refuse_mixtures(datasets: Sequence[Dataset], pixels: Sequence[FloatArray]) -> None:
    """One patient, one series, one frame of reference, one matrix."""
    if len({dataset.get("PatientID") for dataset in datasets}) > 1:
        raise Unusable("the series mixes images of more than one patient", code="PATIENT_MIX")
    for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID"):
        if len({dataset.get(keyword) for dataset in datasets}) > 1:
            raise UnsupportedGeometry(
                f"the images differ in {keyword}: they are no one volume", code="SLICE_SET"
            )
    if len({part.shape[1:] for part in pixels}) > 1:
        raise UnsupportedGeometry(
            "the images of the series differ in rows or columns", code="SLICE_SET"
        )


def _sorted(datasets: Sequence[Dataset], pixels: FloatArray) -> SourceImages:
    references, planes = [], []
    for dataset in datasets:
        with reading(str(dataset.get("SOPInstanceUID", "without UID"))):
            references += _references(dataset)
            planes += [plane_of(dataset, frame) for frame in range(frame_count(dataset))]
    try:
        order, affine = _order(datasets, planes)
    except UnsupportedGeometry as error:
        series = datasets[0].get("SeriesInstanceUID", "without UID")
        raise UnsupportedGeometry(f"series {series}: {error}", code=error.code) from error
    return SourceImages(
        datasets=_in_order_of_first_use(datasets, [references[n] for n in order]),
        frames=tuple(references[n] for n in order),
        pixels=pixels[order],
        affine=affine,
    )


def _references(dataset: Dataset) -> list[FrameReference]:
    count = frame_count(dataset)
    numbers = range(1, count + 1) if "NumberOfFrames" in dataset else [None]
    return [
        FrameReference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), number)
        for number in numbers
    ]


def _order(
    datasets: Sequence[Dataset], planes: Sequence[Plane | None]
) -> tuple[list[int], NDArray[np.float64] | None]:
    known = [plane for plane in planes if plane is not None]
    if len(known) == len(planes):
        return stack(known)
    if known or any(dataset.SOPClassUID in TOMOGRAPHIC for dataset in datasets):
        raise UnsupportedGeometry(
            "one or more images lack their position, orientation or pixel spacing: they cannot be "
            "placed in the patient"
        )
    numbers = [
        (int(dataset.get("InstanceNumber") or 0), frame)
        for dataset in datasets
        for frame in range(frame_count(dataset))
    ]
    return sorted(range(len(numbers)), key=numbers.__getitem__), None


def _in_order_of_first_use(
    datasets: Sequence[Dataset], frames: Sequence[FrameReference]
) -> tuple[Dataset, ...]:
    by_uid = {str(dataset.SOPInstanceUID): dataset for dataset in datasets}
    return tuple(by_uid[uid] for uid in dict.fromkeys(f.sop_instance_uid for f in frames))

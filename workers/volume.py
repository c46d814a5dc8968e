"""One series of DICOM files -> SourceImages in geometric order, or the reason why not.

Geometry comes from the headers alone, never from file names, instance numbers or the order of
arrival (PS3.3 C.7.6.2.1.1). A series that holds a position more than once (time points, echoes)
is refused with SLICE_SET: which of its volumes is meant is for a manifest's selection to say.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import (
    IncompleteStudy,
    UndecodablePixels,
    UnsupportedGeometry,
    Unusable,
)
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelInput
from workers.geometry import Plane, plane_of, stack
from workers.pixels import (
    MAX_FRAMES,
    MAX_PIXELS,
    check_header,
    frame_count,
    pixel_count,
    reading,
)
from workers.progress import Progress, silent
from workers.reader import READER, ImageFile, Room

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


MATRIX = ("Rows", "Columns")
SAME = ("SeriesInstanceUID", "FrameOfReferenceUID", *MATRIX)
"""What the images of one series have in common."""


def read_input(
    files: Sequence[ImageFile], plan: ModelInput, progress: Progress = silent
) -> SourceImages:
    """What a model reads at once: the views of a study, or one series. Raises what those raise."""
    read = read_views if plan.unit == "views" else read_series
    return read(files, progress)


def read_series(files: Sequence[ImageFile], progress: Progress = silent) -> SourceImages:
    """All frames of one series, sorted along the normal of its images.

    ``files`` are DICOM files in any order, single-frame or multi-frame. Images of classes without
    a plane in the patient (CR, DX) keep the order of their instance numbers and have no affine.

    Raises IncompleteStudy (no file), UndecodablePixels (codes as ``ImageReader.header`` and
    ``planes``), UnsupportedGeometry (GEOMETRY, SLICE_SET), Unusable (PATIENT_MIX).
    """
    if not files:
        raise IncompleteStudy("the series has no images to read")
    headers = _headers(files)
    _refuse_mixtures(headers, SAME)
    references, order, affine = _laid_out(headers)
    frames = tuple(references[n] for n in order)
    return SourceImages(
        datasets=_in_order_of_first_use(headers, frames),
        frames=frames,
        pixels=_pixels(files, headers, order, progress),
        affine=affine,
    )


def read_views(files: Sequence[ImageFile], progress: Progress = silent) -> SourceImages:
    """Single images of one study, such as the views of a mammogram, in any number of series.

    They are sorted by side, series and number, and have no affine. Raises what ``read_series``
    raises; SLICE_SET where they differ in rows or columns, or one has several frames.
    """
    if not files:
        raise IncompleteStudy("the study has no images to read")
    headers = _headers(files)
    _refuse_mixtures(headers, MATRIX)
    references = [reference for header in headers for reference in _references(header)]
    deep = next((str(h.SOPInstanceUID) for h in headers if frame_count(h) > 1), None)
    if deep is not None:
        raise UnsupportedGeometry(
            f"instance {deep} has several frames and is no single view: name the classes that the "
            "model reads in its manifest (selection.sop_classes)",
            code="SLICE_SET",
        )
    order = sorted(range(len(headers)), key=lambda n: _by_side(headers[n]))
    frames = tuple(references[n] for n in order)
    datasets = tuple(headers[n] for n in order)
    return SourceImages(datasets, frames, _pixels(files, headers, order, progress))


def _by_side(header: Dataset) -> tuple[str, int, int]:
    series, image = (_number(header, k) for k in ("SeriesNumber", "InstanceNumber"))
    return str(header.get("ImageLaterality") or ""), series, image


def _number(header: Dataset, keyword: str) -> int:
    with reading(str(header.SOPInstanceUID)):
        return int(header.get(keyword) or 0)


def _headers(files: Sequence[ImageFile]) -> list[Dataset]:
    """All but the pixels, which wait until the whole series is known to be a volume."""
    room, headers = Room(), []
    for file in files:
        headers.append(READER.header(file, room))
        check_header(headers[-1])
    return headers


def _refuse_mixtures(headers: Sequence[Dataset], same: Sequence[str]) -> None:
    """One patient, one series, one frame of reference, one matrix, and no flood of pixels."""
    if len({str(header.get("PatientID")) for header in headers}) > 1:
        raise Unusable("the series mixes images of more than one patient", code="PATIENT_MIX")
    for keyword in same:
        if len({str(header.get(keyword)) for header in headers}) > 1:
            raise UnsupportedGeometry(
                f"series {_series(headers)}: its images differ in {keyword} and are no one volume",
                code="SLICE_SET",
            )
    pixels, frames = (sum(map(count, headers)) for count in (pixel_count, frame_count))
    if pixels > MAX_PIXELS or frames > MAX_FRAMES:
        raise UndecodablePixels(
            f"series {_series(headers)} has more pixels than may be read", code="PIXEL_LIMIT"
        )


def _laid_out(
    headers: Sequence[Dataset],
) -> tuple[list[FrameReference], list[int], NDArray[np.float64] | None]:
    """All frames in the order of the files, their indices in geometric order, and the affine."""
    references, planes = [], []
    for header in headers:
        with reading(str(header.SOPInstanceUID)):
            references += _references(header)
            planes += [plane_of(header, frame) for frame in range(frame_count(header))]
    try:
        return references, *_order(headers, planes)
    except UnsupportedGeometry as error:
        raise UnsupportedGeometry(f"series {_series(headers)}: {error}", code=error.code) from error


def _pixels(
    files: Sequence[ImageFile], headers: Sequence[Dataset], order: Sequence[int], progress: Progress
) -> FloatArray:
    """(frames, rows, columns), each frame decoded into its place."""
    places = iter(np.argsort(order))
    pixels = np.empty((len(order), headers[0].Rows, headers[0].Columns), np.float32)
    for number, (file, header) in enumerate(zip(files, headers, strict=True), 1):
        planes = [pixels[next(places)] for _ in range(frame_count(header))]
        READER.fill(planes, file, str(header.SOPInstanceUID))
        progress("reading", number / len(files))
    return pixels


def _series(headers: Sequence[Dataset]) -> str:
    return str(headers[0].get("SeriesInstanceUID", "without UID"))


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
        (_number(dataset, "InstanceNumber"), frame)
        for dataset in datasets
        for frame in range(frame_count(dataset))
    ]
    return sorted(range(len(numbers)), key=numbers.__getitem__), None


def _in_order_of_first_use(
    datasets: Sequence[Dataset], frames: Sequence[FrameReference]
) -> tuple[Dataset, ...]:
    by_uid = {str(dataset.SOPInstanceUID): dataset for dataset in datasets}
    return tuple(by_uid[uid] for uid in dict.fromkeys(f.sop_instance_uid for f in frames))

"""What presentation states share: what they are, which images they show, and where (PS3.3 C.11)."""

from collections.abc import Iterable

from pydicom.dataset import Dataset

from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.images import FrameReference
from reports.case import Case
from reports.compass import pixel_size_mm
from reports.identity import series_description
from reports.planes import decimal


def present(dataset: Dataset, case: Case, kind: ResultKind, label: str, *, header: Dataset) -> None:
    """Presentation State Identification and Displayed Area (PS3.3 C.11.10, C.10.4).

    ``header`` is of a source image: its pixels' size is that of all images that are shown.
    """
    dataset.ContentLabel = label
    dataset.ContentDescription = series_description(case.maker, kind)
    dataset.ContentCreatorName = None
    dataset.PresentationCreationDate = f"{case.made_at:%Y%m%d}"
    dataset.PresentationCreationTime = f"{case.made_at:%H%M%S}"
    dataset.DisplayedAreaSelectionSequence = [_whole_image(case, header)]


def referring(series_instance_uid: str, frames: Iterable[FrameReference]) -> list[Dataset]:
    """Referenced Series Sequence (PS3.3 C.11.11): images, with frames where they have any."""
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedImageSequence = images(frames)
    return [item]


def images(frames: Iterable[FrameReference]) -> list[Dataset]:
    """An item for each image (PS3.3 Table 10-3), with the numbers of its frames."""
    by_image: dict[tuple[str, str], list[int]] = {}
    for frame in frames:
        numbers = by_image.setdefault((frame.sop_class_uid, frame.sop_instance_uid), [])
        if frame.frame_number is not None:
            numbers.append(frame.frame_number)
    return [_image(*image, numbers) for image, numbers in by_image.items()]


def _image(sop_class_uid: str, sop_instance_uid: str, frames: list[int]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if frames:
        item.ReferencedFrameNumber = sorted(frames)
    return item


def _whole_image(case: Case, header: Dataset) -> Dataset:
    """In true proportions: viewers take the ratio from here, not from the image."""
    height, width, where = pixel_size_mm(case.analysis.images, header)
    rows, columns = case.analysis.images.pixels.shape[1:]
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [columns, rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    if where == "":
        item.PresentationPixelSpacing = [decimal(height), decimal(width)]
    else:
        item.PresentationPixelAspectRatio = [round(height * 1000), round(width * 1000)]
    return item

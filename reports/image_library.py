"""TID 1600 Image Library: every image that the model read, with its place in the patient.

Shared descriptors stand once in the group, positions at each image; highdicom's own library
repeats all of them for each image and fails where a slice thickness is missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from reports.case import Case
from reports.planes import functional_group

SOURCE = Code("260753009", "SCT", "Source")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
COSINE = Code("{-1:1}", "UCUM", "{-1:1}")
MODALITIES: Mapping[str, Code] = {
    code.value: code for code in (getattr(codes.cid29, name) for name in codes.cid29.dir())
}
"""CID 29 Acquisition Modality."""
ORIENTATION = tuple(
    getattr(codes.DCM, f"ImageOrientationPatient{line}{axis}")
    for line in ("Row", "Column")
    for axis in "XYZ"
)
POSITION = tuple(getattr(codes.DCM, f"ImagePositionPatient{axis}") for axis in "XYZ")


def image_library(case: Case) -> ContainerContentItem:
    """One group with all images, in the order of the analysis."""
    group = container(codes.DCM.ImageLibraryGroup, _shared(case.sources.first))
    group.ContentSequence.extend(_entry(header) for header in _images(case))
    return container(codes.DCM.ImageLibrary, [group])


def container(name: Code, items: Sequence[ContentItem]) -> ContainerContentItem:
    """A CONTAINER that its parent CONTAINS."""
    item = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    item.ContentSequence = ContentSequence(items)
    return item


def _images(case: Case) -> list[Dataset]:
    used = dict.fromkeys(frame.sop_instance_uid for frame in case.analysis.images.frames)
    headers = {str(h.SOPInstanceUID): h for h in case.sources.headers}
    return [headers[uid] for uid in used]


def _shared(header: Dataset) -> list[ContentItem]:
    """TID 1602 and TID 1604: what is the same for all images."""
    items: list[ContentItem] = []
    if header.Modality in MODALITIES:
        items.append(_code(codes.DCM.Modality, MODALITIES[header.Modality]))
    if header.get("FrameOfReferenceUID"):
        items.append(_uid(codes.DCM.FrameOfReferenceUID, str(header.FrameOfReferenceUID)))
    items.append(_number(codes.DCM.PixelDataRows, header.Rows, PIXELS))
    items.append(_number(codes.DCM.PixelDataColumns, header.Columns, PIXELS))
    measures = functional_group(header, 1, "PixelMeasuresSequence")
    facing = functional_group(header, 1, "PlaneOrientationSequence")
    return items + _spacing(measures) + _orientation(facing)


def _spacing(measures: Dataset) -> list[ContentItem]:
    spacing = measures.get("PixelSpacing") or measures.get("ImagerPixelSpacing")
    if not spacing:
        return []
    return [
        _number(codes.DCM.HorizontalPixelSpacing, spacing[1], codes.UCUM.Millimeter),
        _number(codes.DCM.VerticalPixelSpacing, spacing[0], codes.UCUM.Millimeter),
        *_thickness(measures),
    ]


def _thickness(header: Dataset) -> list[ContentItem]:
    if not header.get("SliceThickness"):
        return []
    return [_number(codes.DCM.SliceThickness, header.SliceThickness, codes.UCUM.Millimeter)]


def _orientation(header: Dataset) -> list[ContentItem]:
    values = header.get("ImageOrientationPatient") or ()
    return [_number(n, v, COSINE) for n, v in zip(ORIENTATION, values, strict=False)]


def _entry(header: Dataset) -> ImageContentItem:
    """TID 1601: one image and its position."""
    item = ImageContentItem(
        name=SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    values = header.get("ImagePositionPatient") or ()
    places = [_number(n, v, codes.UCUM.Millimeter) for n, v in zip(POSITION, values, strict=False)]
    if places:
        item.ContentSequence = ContentSequence(places)
    return item


_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def _number(name: Code, value: Any, unit: Code) -> NumContentItem:
    return NumContentItem(name=name, value=float(value), unit=unit, relationship_type=_CONTEXT)


def _code(name: Code, value: Code) -> CodeContentItem:
    return CodeContentItem(name=name, value=value, relationship_type=_CONTEXT)


def _uid(name: Code, value: str) -> UIDRefContentItem:
    return UIDRefContentItem(name=name, value=value, relationship_type=_CONTEXT)

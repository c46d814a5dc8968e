"""TID 1600 Image Library: every image that the model read, with its place in the patient.

Shared descriptions stand once in the group, positions at each image, or at each frame of a
multi-frame image; highdicom's own library repeats all of them for each image, has none of frames,
and fails where a slice thickness is missing. The items are plain data sets: there are thousands of
them, and highdicom's content items take their time.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    RelationshipTypeValues,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag

from reports.case import Case
from reports.identity import code_item
from reports.planes import decimal, functional_group, position
from reports.references import Reference
from reports.side import SIDES

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
PROJECTIONS = frozenset({"CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA"})
FACING = (codes.DCM.PatientOrientationRow, codes.DCM.PatientOrientationColumn)
POSITION = tuple(getattr(codes.DCM, f"ImagePositionPatient{axis}") for axis in "XYZ")
Place = tuple[str, ...]
"""Image Position (Patient); nothing where it is not stated."""
Size = tuple[float, ...]
"""Width and height of a pixel, thickness of a slice; nothing where it is not stated."""
SIZE = (codes.DCM.HorizontalPixelSpacing, codes.DCM.VerticalPixelSpacing, codes.DCM.SliceThickness)
CONTEXT, CONTAINS = "HAS ACQ CONTEXT", "CONTAINS"


def image_library(case: Case) -> Dataset:
    """One group with all images, in the order of the analysis."""
    library, group = (
        _item("CONTAINER", CONTAINS, name)
        for name in (codes.DCM.ImageLibrary, codes.DCM.ImageLibraryGroup)
    )
    library.ContinuityOfContent = group.ContinuityOfContent = "SEPARATE"
    headers = _headers(case)
    sizes = {uid: _size(header) for uid, header in headers.items()}
    alike = len(set(sizes.values())) == 1

    own = {uid: [*_view(h), *(() if alike else _spacing(sizes[uid]))] for uid, h in headers.items()}
    entries = [
        _entry(case.references[uid], number, place, own[uid])
        for uid, number, place in _places(case)
    ]
    first = case.sources.first
    group.ContentSequence = [*_shared(first, _size(first) if alike else ()), *entries]
    library.ContentSequence = [group]
    return library


def container(name: Code, items: Sequence[ContentItem]) -> ContainerContentItem:
    """A CONTAINER that its parent CONTAINS."""
    item = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    item.ContentSequence = ContentSequence(items)
    return item


def _headers(case: Case) -> dict[str, Dataset]:
    return {str(header.SOPInstanceUID): header for header in case.sources.headers}


def _places(case: Case) -> Iterator[tuple[str, int | None, Place]]:
    """Images in the order of the analysis; each frame by itself where it states a position."""
    headers = _headers(case)
    named: set[tuple[str, int | None]] = set()
    for frame in case.analysis.images.frames:
        uid = frame.sop_instance_uid
        place = tuple(position(headers[uid], frame.frame_number) or ())
        number = frame.frame_number if place else None
        if (uid, number) not in named:
            named.add((uid, number))
            yield uid, number, place


def _shared(header: Dataset, size: Size) -> list[Dataset]:
    """TID 1602 and TID 1604: what is the same for all images."""
    items: list[Dataset] = []
    if header.Modality in MODALITIES:
        item = _item("CODE", CONTEXT, codes.DCM.Modality)
        item.ConceptCodeSequence = [code_item(MODALITIES[header.Modality])]
        items.append(item)
    if header.get("FrameOfReferenceUID"):
        item = _item("UIDREF", CONTEXT, codes.DCM.FrameOfReferenceUID)
        item.UID = header.FrameOfReferenceUID
        items.append(item)
    items.append(_number(codes.DCM.PixelDataRows, header.Rows, PIXELS))
    items.append(_number(codes.DCM.PixelDataColumns, header.Columns, PIXELS))
    facing = functional_group(header, 1, "PlaneOrientationSequence")
    return items + _spacing(size) + _orientation(facing)


def _view(header: Dataset) -> list[Dataset]:
    """TID 1602 row 3, TID 1603: side of an image that lies nowhere, orientation of projections."""
    items: list[Dataset] = []
    if header.get("FrameOfReferenceUID"):
        return items
    if side := SIDES.get(str(header.get("ImageLaterality") or "")):
        item = _item("CODE", CONTEXT, codes.DCM.ImageLaterality)
        item.ConceptCodeSequence = [_code(side)]
        items.append(item)
    facing = header.get("PatientOrientation") if header.get("Modality") in PROJECTIONS else ()
    for name, value in zip(FACING, facing or (), strict=False):
        item = _item("TEXT", CONTEXT, name)
        item.TextValue = value
        items.append(item)
    return items


def _size(header: Dataset) -> Size:
    measures = functional_group(header, 1, "PixelMeasuresSequence")
    spacing = measures.get("PixelSpacing") or measures.get("ImagerPixelSpacing")
    thickness = measures.get("SliceThickness")
    if not spacing:
        return ()
    return (float(spacing[1]), float(spacing[0]), *([float(thickness)] if thickness else []))


def _spacing(size: Size) -> list[Dataset]:
    return [_number(n, v, codes.UCUM.Millimeter) for n, v in zip(SIZE, size, strict=False)]


def _orientation(header: Dataset) -> list[Dataset]:
    values = header.get("ImageOrientationPatient") or ()
    return [_number(n, v, COSINE) for n, v in zip(ORIENTATION, values, strict=False)]


def _entry(
    reference: Reference, frame: int | None, place: Place, described: Sequence[Dataset]
) -> Dataset:
    """TID 1601: one image or frame, what is its own, and its position."""
    item = _item("IMAGE", CONTAINS, SOURCE)
    item.ReferencedSOPSequence = [_of_frame(reference, frame)]
    places = [_number(n, v, codes.UCUM.Millimeter) for n, v in zip(POSITION, place, strict=False)]
    if described or places:
        item.ContentSequence = [*described, *places]
    return item


def _of_frame(reference: Reference, frame: int | None) -> Dataset:
    if frame is None:
        return reference.item
    item = Dataset({element.tag: element for element in reference.item})
    item.ReferencedFrameNumber = frame
    return item


def _item(value_type: str, relationship: str, name: Code) -> Dataset:
    """A new item; its elements are those of all items that begin like it, and stay as they are."""
    return Dataset(dict(_opening(value_type, relationship, name)))


@lru_cache(maxsize=256)
def _opening(value_type: str, relationship: str, name: Code) -> dict[BaseTag, DataElement]:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    item.ConceptNameCodeSequence = [_code(name)]
    return {element.tag: element for element in item}


@lru_cache(maxsize=256)
def _code(name: Code) -> Dataset:
    """One data set for all items that have this name: nothing changes it."""
    return code_item(name)


def _number(name: Code, value: Any, unit: Code) -> Dataset:
    item = _item("NUM", CONTEXT, name)
    item.MeasuredValueSequence = [_measured(decimal(value), unit)]
    return item


@lru_cache(maxsize=256)
def _measured(value: str, unit: Code) -> Dataset:
    """Of a stack only one coordinate changes: the others are one data set for all images."""
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [_code(unit)]
    return measured

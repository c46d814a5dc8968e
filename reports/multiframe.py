"""Multi-frame images derived from source frames: what SEG and Parametric Map have in common.

Written here and not by highdicom's constructors, which cannot express what this product meets:
several frames without a frame of reference (ultrasound), frames chosen from a multi-frame image,
frames of several multi-frame images (PS3.3 C.7.6.16, C.7.6.17).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag

from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.domain.images import FrameReference
from reports.case import Case
from reports.identity import code_item, copy_element
from reports.planes import decimal, functional_group, orientation, position


@dataclass(frozen=True, slots=True)
class Dimension:
    """What tells frames apart: an attribute, the functional group that holds it, its name."""

    pointer: str
    group: str
    label: str


MANY = 4096
"""Source frames of which something is kept: more than a study has."""
POSITION = Dimension("ImagePositionPatient", "PlanePositionSequence", "Position in the patient")
PLACE = Dimension("InStackPositionNumber", "FrameContentSequence", "Frame of the source")


@dataclass(frozen=True, slots=True)
class Derived:
    """One frame to be written."""

    source: int
    """Index of the source frame, in the order of the analysis."""
    index: tuple[int, ...] = ()
    """Values of the dimensions that stand before the place."""
    groups: dict[str, list[Dataset]] = field(default_factory=dict)
    """Further functional groups, by keyword."""


def require_frame_of_reference(case: Case) -> None:
    """Only images without a plane in the patient may go without one; none is ever made up.

    Raises ``UnsupportedGeometry`` (PS3.3 C.7.4.1: required where positions are written).
    """
    first = case.sources.first
    if case.analysis.images.affine is not None and not first.get("FrameOfReferenceUID"):
        raise UnsupportedGeometry(
            f"series {first.SeriesInstanceUID}: its images name no Frame of Reference UID, which "
            "their class requires; a SEG of them could not say where its voxels lie"
        )


def describe(
    dataset: Dataset,
    case: Case,
    frames: Sequence[Derived],
    *,
    derivation: Code,
    dimensions: Sequence[Dimension] = (),
) -> Dataset:
    """Write everything but pixels and content; return the item of the shared groups.

    Frames are (rows, columns) of the source's own grid, and come in the order of their indices.
    """
    images = case.analysis.images
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = images.pixels.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    used = [case.header(n) for n in dict.fromkeys(frame.source for frame in frames)]
    _frame_of_reference(dataset, case, used)
    copy_compression(dataset, used)
    _references(dataset, case, frames)
    place = POSITION if images.affine is not None else PLACE
    _dimensions(dataset, case, [*dimensions, place])
    shared = _shared(case)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = _per_frame(case, frames, derivation)
    return shared


def _frame_of_reference(dataset: Dataset, case: Case, used: Sequence[Dataset]) -> None:
    """Copied; without one, Patient Orientation is all that says where left is."""
    source = case.sources.first
    if case.analysis.images.affine is None:
        dataset.PatientOrientation = common_orientation(used)
    else:
        dataset.FrameOfReferenceUID = source.FrameOfReferenceUID
        dataset.PositionReferenceIndicator = source.get("PositionReferenceIndicator")


def common_orientation(sources: Sequence[Dataset]) -> list[str]:
    """Patient Orientation, where all images state the same: views of a breast do not."""
    stated = {tuple(source.get("PatientOrientation") or ()) for source in sources}
    return list(stated.pop()) if len(stated) == 1 else []


def copy_compression(dataset: Dataset, sources: Sequence[Dataset]) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5): what is made of several, by any of them."""
    lossy = [source for source in sources if source.get("LossyImageCompression") == "01"]
    dataset.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        stated = next((source for source in lossy if source.get(keyword)), None)
        if stated is not None:
            copy_element(dataset, stated, keyword)


def _references(dataset: Dataset, case: Case, frames: Sequence[Derived]) -> None:
    """The whole series, for viewers to find it; the images that frames were derived from."""
    used = dict.fromkeys(frame.source for frame in frames)
    dataset.ReferencedSeriesSequence = [
        _series(case, uid) for uid in dict.fromkeys(map(case.series_uid, used))
    ]
    items = (_source_item(case.reference(n)) for n in used)
    by_uid = {item.ReferencedSOPInstanceUID: item for item in items}
    for item in by_uid.values():
        item.pop("ReferencedFrameNumber", None)
    dataset.SourceImageSequence = list(by_uid.values())


def _series(case: Case, uid: str) -> Dataset:
    references = case.references.values()
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedInstanceSequence = [r.item for r in references if r.series_instance_uid == uid]
    return item


def _source_item(reference: FrameReference) -> Dataset:
    return Dataset(dict(_referring(reference)))


@lru_cache(maxsize=MANY)
def _referring(reference: FrameReference) -> "Elements":
    """Made once for all results that refer to an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frame_number is not None:
        item.ReferencedFrameNumber = reference.frame_number
    return _elements(item)


def _dimensions(dataset: Dataset, case: Case, dimensions: Sequence[Dimension]) -> None:
    """PS3.3 C.7.6.17; the organization's UID follows from the work, as all UIDs do."""
    uid = case.provenance.uid(f"dimension-organization|{dataset.SOPClassUID}")
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = [_dimension(each, uid) for each in dimensions]


def _dimension(dimension: Dimension, uid: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = uid
    item.DimensionIndexPointer = _tag(dimension.pointer)
    item.FunctionalGroupPointer = _tag(dimension.group)
    item.DimensionDescriptionLabel = dimension.label
    return item


@lru_cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _shared(case: Case) -> Dataset:
    """Plane orientation and pixel measures, of images that lie in the patient."""
    shared = Dataset()
    if case.analysis.images.affine is not None:
        shared.PixelMeasuresSequence = [_pixel_measures(case)]
        facing = Dataset()
        facing.ImageOrientationPatient = orientation(case.header(0), case.reference(0).frame_number)
        shared.PlaneOrientationSequence = [facing]
    return shared


def _pixel_measures(case: Case) -> Dataset:
    """PS3.3 C.7.6.16.2.1."""
    source = functional_group(case.header(0), case.reference(0).frame_number, PIXEL_MEASURES)
    between = decimal(case.analysis.images.spacing_mm[0])
    item = Dataset()
    item.PixelSpacing = [str(value) for value in source.PixelSpacing]
    item.SliceThickness = str(source.get("SliceThickness") or between)
    item.SpacingBetweenSlices = between
    return item


PIXEL_MEASURES = "PixelMeasuresSequence"


def _per_frame(case: Case, frames: Sequence[Derived], derivation: Code) -> list[Dataset]:
    planes = {n: _Plane.of(case, n, derivation) for n in {frame.source for frame in frames}}
    ordinals = {source: place for place, source in enumerate(sorted(planes), 1)}
    return [planes[f.source].groups(f, ordinals[f.source]) for f in frames]


Elements = dict[BaseTag, DataElement]
"""Of an item, to begin others like it with: pydicom takes longer to make elements than items."""


@dataclass(frozen=True, slots=True)
class _Plane:
    """What all frames derived from one source frame share."""

    alike: Elements
    """Position and derivation."""
    in_patient: bool

    @classmethod
    def of(cls, case: Case, frame: int, derivation: Code) -> "_Plane":
        item = Dataset()
        item.DerivationImageSequence = [_derivation(case.reference(frame), derivation)]
        position = _position(case, frame)
        if position:
            item.PlanePositionSequence = position
        return cls(_elements(item), bool(position))

    def groups(self, frame: Derived, place: int) -> Dataset:
        content = Dataset()
        if not self.in_patient:
            place = frame.source + 1
            content.StackID, content.InStackPositionNumber = "1", place
        content.DimensionIndexValues = [*frame.index, place]
        item = Dataset(dict(self.alike))
        item.FrameContentSequence = [content]
        for keyword, sequence in frame.groups.items():
            setattr(item, keyword, sequence)
        return item


def _position(case: Case, frame: int) -> list[Dataset]:
    images = case.analysis.images
    if images.affine is None:
        return []
    stated = position(case.header(frame), case.reference(frame).frame_number)
    return [_placed(*(stated or map(decimal, images.to_patient((frame, 0, 0)) or ())))]


@lru_cache(maxsize=MANY)
def _placed(*position: str) -> Dataset:
    """One item for all results that have a frame there."""
    item = Dataset()
    item.ImagePositionPatient = list(position)
    return item


def _derivation(reference: FrameReference, how: Code) -> Dataset:
    """Derivation Image Macro (PS3.3 C.7.6.16.2.6)."""
    source = Dataset({**_preserved(), **_referring(reference)})
    item = Dataset(dict(_derived(how)))
    item.SourceImageSequence = [source]
    return item


@lru_cache
def _preserved() -> Elements:
    """Of every source image."""
    item = Dataset()
    item.SpatialLocationsPreserved = "YES"
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [code_item(purpose)]
    return _elements(item)


@lru_cache(maxsize=64)
def _derived(how: Code) -> Elements:
    item = Dataset()
    item.DerivationCodeSequence = [code_item(how)]
    return _elements(item)


def _elements(item: Dataset) -> Elements:
    return {element.tag: element for element in item}

"""Source, SEG, map and SR place a lesion at the same millimetres of the patient.

The truth is taken from the headers of the instances and the planted masks, by the equation of
PS3.3 C.7.6.2.1.1 written down once more here; results are read from their bytes, with pydicom.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import analyses
import numpy as np
import perfect
import pytest
import sources
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.errors import DicomNodeError
from dicom_node.testing.phantom import Phantom
from reports.case import Case
from reports.parametric_map import ParametricMapWriter
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import write_results

TURN, TILT = math.radians(20), math.radians(35)
OBLIQUE = (
    (math.cos(TURN), math.sin(TURN), 0.0),
    (-math.sin(TURN) * math.cos(TILT), math.cos(TURN) * math.cos(TILT), math.sin(TILT)),
)
GRIDS: Mapping[str, dict[str, Any]] = {
    "axial": {},
    "sagittal": {"directions": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))},
    "coronal": {"directions": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))},
    "oblique": {"directions": OBLIQUE},
    "reversed": {"reverse": True},
    "oblique reversed": {"directions": OBLIQUE, "reverse": True},
    "from the head, feet first": {"directions": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))},
}
WRITERS = (
    SegmentationWriter(),
    ParametricMapWriter(),
    StructuredReportWriter(),
    StructuredReportWriter(ResultKind.FLAT_REPORT),
)
Point = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Plane:
    """Where a frame lies, and which instance it shows."""

    corner: Point
    to_patient: np.ndarray[Any, np.dtype[np.float64]]
    """(3, 2): millimetres a row, a column."""
    uid: str

    @classmethod
    def of(cls, position: Any, orientation: Any, spacing: Any, uid: str) -> "Plane":
        cosines = np.reshape([float(value) for value in orientation], (2, 3))
        down, across = (float(value) for value in spacing)
        steps = np.stack([cosines[1] * down, cosines[0] * across], axis=1)
        return cls(np.array([float(value) for value in position]), steps, uid)

    def place(self, row: float, column: float) -> Point:
        """Of an index in this plane, where 0, 0 is the centre of the first pixel."""
        return self.corner + self.to_patient @ np.array([row, column])

    def center(self, weights: np.ndarray) -> Point:
        """The centroid in this plane."""
        rows, columns = np.indices(weights.shape)
        row, column = (weights * rows).sum(), (weights * columns).sum()
        return self.place(row / weights.sum(), column / weights.sum())


@dataclass(frozen=True)
class Made:
    """An analysis of a source, and where the slices of the phantom lie."""

    body: Phantom
    given: Analysis
    planes: Mapping[int, Plane]
    slices: Mapping[sources.Frame, int]
    read: list[tuple[ResultKind, Dataset]]
    """Results, from their bytes."""

    def of(self, kind: ResultKind) -> list[Dataset]:
        return [dataset for found, dataset in self.read if found is kind]

    def apart(self, here: Point, there: Point) -> float:
        """The largest distance along an axis of the grid, in voxels."""
        steps = self.planes[0].to_patient
        normal = (self.planes[1].corner - self.planes[0].corner)[:, None]
        offset = np.linalg.solve(np.hstack([normal, steps]), here - there)
        return float(np.abs(offset).max())

    def shown(self, values: np.ndarray) -> Iterator[tuple[Plane, np.ndarray]]:
        """What lies in each slice of the phantom."""
        return ((self.planes[n], plane) for n, plane in enumerate(values) if plane.any())


KINDS: Mapping[str, Callable[[Phantom, sources.Source], sources.Source]] = {
    "single": lambda _, stack: stack,
    "legacy": sources.enhanced_of,
    "enhanced": lambda body, stack: sources.true_enhanced(body, stack, EnhancedCTImageStorage),
}


def made(
    grid: str, kind: str, *, stretched: bool, folder: Path, change: Callable[[Analysis], Analysis]
) -> Made:
    body = sources.body(lesions=2)
    body = replace(body, spacing_mm=(7.5, 5.625, 2.25)) if stretched else body
    stack = sources.stack(body, **GRIDS[grid])
    planes = {
        number: Plane.of(
            d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing, d.SOPInstanceUID
        )
        for number, d in enumerate(stack.instances)
    }
    source = KINDS[kind](body, stack)
    given = change(source.analysis(folder, analyses.manifest()))
    results = write_results(Case(given), WRITERS)
    read = [(r.kind, dcmread(BytesIO(dataset_bytes(r.dataset)))) for r in results]
    return Made(body, given, planes, source.slices, read)


@pytest.mark.parametrize("stretched", [False, True], ids=["square", "anisotropic"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_lesion_is_at_one_place(grid: str, kind: str, stretched: bool, tmp_path: Path) -> None:
    case = made(grid, kind, stretched=stretched, folder=tmp_path, change=hot)
    (segmentation,), maps = case.of(ResultKind.SEGMENTATION), case.of(ResultKind.PARAMETRIC_MAP)
    (report,), (flat,) = case.of(ResultKind.STRUCTURED_REPORT), case.of(ResultKind.FLAT_REPORT)
    for number, mask in enumerate(case.body.lesions):
        truth = center_of(case.shown(mask))
        places = {
            "SEG": center_of(segment_frames(segmentation, number + 1)),
            "map": center_of(map_frames(maps[number])),
            "SR": np.array(centers(report)[number]),
            "SR 2D": flat_centers(flat, case)[number],
        }
        for name, place in places.items():
            assert case.apart(place, truth) <= 0.5, (name, place, truth)
        corner = corner_of(case.shown(mask))
        assert case.apart(corner_of(segment_frames(segmentation, number + 1)), corner) < 0.01
        assert case.apart(corner_of(map_frames(maps[number])), corner) < 0.01
        for form in (report, flat):
            assert case.apart(corner_of(outlined(form, segmentation)[number]), corner) < 0.01
        heat = case.given.findings[number].explanation.saliency.values
        frames = case.given.images.frames
        slices = [case.slices[f.sop_instance_uid, f.frame_number] for f in frames]
        weights = ((case.planes[n], v) for n, v in zip(slices, heat, strict=True) if v.any())
        assert case.apart(places["map"], center_of(weights)) < 0.01
    for frame in (f for d in (segmentation, *maps) for f in all_planes(d)):
        nearest = min(case.planes.values(), key=lambda p: np.linalg.norm(p.corner - frame.corner))
        assert case.apart(frame.corner, nearest.corner) < 0.01
        assert np.abs(frame.to_patient - nearest.to_patient).max() < 1e-3
        assert kind != "single" or frame.uid == nearest.uid
    if kind == "single":
        wanted = {p.uid: pytest.approx(p.corner.tolist()) for p in case.planes.values()}
        assert library(report) == wanted


@pytest.mark.parametrize("stretched", [False, True], ids=["square", "anisotropic"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_box_is_at_one_place(grid: str, kind: str, stretched: bool, tmp_path: Path) -> None:
    """Its edges run half a pixel around the outermost pixels."""
    case = made(grid, kind, stretched=stretched, folder=tmp_path, change=boxed)
    for form in (ResultKind.STRUCTURED_REPORT, ResultKind.FLAT_REPORT):
        (report,) = case.of(form)
        regions = [item for item in items(report) if item.ValueType == "SCOORD"]
        for region, mask in zip(regions, case.body.lesions, strict=True):
            plane, points = on_plane(region, case)
            largest = int(mask.sum(axis=(1, 2)).argmax())
            rows, columns = np.nonzero(mask[largest])
            first = case.planes[largest].place(rows.min() - 0.5, columns.min() - 0.5)
            last = case.planes[largest].place(rows.max() + 0.5, columns.max() + 0.5)
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            assert case.apart(plane.place(top - 0.5, left - 0.5), first) < 0.01
            assert case.apart(plane.place(bottom - 0.5, right - 0.5), last) < 0.01


def hot(given: Analysis) -> Analysis:
    """Maps that are as large as their lesions and grow along the stack: one turned over shows."""
    ramp = np.linspace(0.8, 1.2, len(given.images.frames), dtype=np.float32)[:, None, None]
    for number, finding in enumerate(given.findings):
        saliency = finding.explanation.saliency
        map_ = replace(saliency, values=finding.segment.mask * ramp * 4)
        explanation = replace(finding.explanation, saliency=map_)
        given = analyses.with_finding(given, number, explanation=explanation)
    return given


def boxed(given: Analysis) -> Analysis:
    """Boxes in place of segments."""
    for number, finding in enumerate(given.findings):
        box = perfect.box(finding.segment.mask)
        given = analyses.with_finding(given, number, segment=None, box=box, frame=box.frame)
    return replace(given, segments=())


def center_of(planes: Iterator[tuple[Plane, np.ndarray]]) -> Point:
    """The centroid over planes, each with its weight."""
    weighed = [(plane.center(values), float(values.sum())) for plane, values in planes]
    return np.average([c for c, _ in weighed], axis=0, weights=[w for _, w in weighed])


def corner_of(planes: Iterator[tuple[Plane, np.ndarray]]) -> Point:
    """The first row and column of all planes, in the first of them along their normal."""
    known = list(planes)
    down, across = known[0][0].to_patient.T
    first = min(
        (plane for plane, _ in known), key=lambda p: float(np.cross(across, down) @ p.corner)
    )
    rows, columns = np.nonzero(np.any([values > 0 for _, values in known], axis=0))
    return first.place(rows.min(), columns.min())


def on_plane(item: Dataset, case: Made) -> tuple[Plane, np.ndarray]:
    """Coordinates in an image (column, row; 0, 0 is a corner), and where the image lies."""
    (image,) = (child for child in item.ContentSequence if child.ValueType == "IMAGE")
    (reference,) = image.ReferencedSOPSequence
    number = reference.get("ReferencedFrameNumber")
    shown = case.slices[reference.ReferencedSOPInstanceUID, None if number is None else int(number)]
    return case.planes[shown], np.reshape([float(v) for v in item.GraphicData], (-1, 2))


def flat_centers(report: Dataset, case: Made) -> list[Point]:
    """Of the findings, in their order."""
    found = (on_plane(item, case) for item in items(report) if item.ValueType == "SCOORD")
    return [plane.place(row - 0.5, column - 0.5) for plane, ((column, row),) in found]


def all_planes(dataset: Dataset) -> list[Plane]:
    (shared,) = dataset.SharedFunctionalGroupsSequence
    return [
        Plane.of(
            group.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
        )
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]


def segment_frames(dataset: Dataset, number: int) -> Iterator[tuple[Plane, np.ndarray]]:
    groups = dataset.PerFrameFunctionalGroupsSequence
    for plane, group, pixels in zip(all_planes(dataset), groups, dataset.pixel_array, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            yield plane, pixels


def map_frames(dataset: Dataset) -> Iterator[tuple[Plane, np.ndarray]]:
    frames = (plane for plane in dataset.pixel_array)
    return ((p, v) for p, v in zip(all_planes(dataset), frames, strict=True) if v.any())


def centers(report: Dataset) -> list[list[float]]:
    """Of the findings, in their order."""
    return [list(item.GraphicData) for item in items(report) if item.ValueType == "SCOORD3D"]


def outlined(report: Dataset, segmentation: Dataset) -> list[Iterator[tuple[Plane, np.ndarray]]]:
    """What each finding of an SR says that it looks like: the segment that it refers to."""
    named = [item for item in items(report) if item.ValueType == "IMAGE"]
    found = [item.ReferencedSOPSequence[0] for item in named]
    shown = [reference for reference in found if "ReferencedSegmentNumber" in reference]
    uids = {reference.ReferencedSOPInstanceUID for reference in shown}
    assert uids == {segmentation.SOPInstanceUID}
    return [segment_frames(segmentation, each.ReferencedSegmentNumber) for each in shown]


def library(report: Dataset) -> dict[str, list[float]]:
    """Image Position (Patient) of each image that the SR lists."""
    entries = [item for item in items(report) if item.ValueType == "IMAGE"]
    return {
        str(entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID): [
            float(child.MeasuredValueSequence[0].NumericValue) for child in entry.ContentSequence
        ]
        for entry in entries
        if [child.ValueType for child in entry.get("ContentSequence", ())] == ["NUM"] * 3
    }


def items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from items(child)


def tilted(body: Phantom) -> sources.Source:
    """A gantry of 12 degrees: slices move sideways as they rise."""
    source = sources.stack(body)
    for number, instance in enumerate(source.instances):
        x, y, z = (float(value) for value in instance.ImagePositionPatient)
        shift = number * body.spacing_mm[0] * math.tan(math.radians(12))
        instance.ImagePositionPatient = [x, round(y + shift, 4), z]
    return source


def colored(body: Phantom) -> sources.Source:
    """A Secondary Capture in colour, with a picture in it and no number that means anything."""
    source = sources.radiograph(body, SecondaryCaptureImageStorage, "OT")
    for image in source.instances:
        image.SamplesPerPixel, image.PhotometricInterpretation = 3, "RGB"
        image.PlanarConfiguration, image.BitsAllocated, image.BitsStored = 0, 8, 8
        image.HighBit, image.PixelData = 7, bytes(image.Rows * image.Columns * 3)
        image["PixelData"].VR = "OB"
    return source


def nowhere(body: Phantom) -> sources.Source:
    source = sources.stack(body)
    for image in source.instances:
        del image.FrameOfReferenceUID
    return source


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (tilted, "GEOMETRY", "tilted gantry"),
        (colored, "UNSUPPORTED", "no grey-level image"),
        (nowhere, "GEOMETRY", "Frame of Reference"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_a_reason(
    make: Any, code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DicomNodeError, match=words) as refusal:
        write_results(Case(make(sources.body()).analysis(tmp_path, analyses.manifest())), WRITERS)
    assert refusal.value.code == code

"""Source, SEG, map and SR place a lesion at the same millimetres of the patient.

The truth is taken from the headers of the instances and the planted masks, by the equation of
PS3.3 C.7.6.2.1.1 written down once more here; results are read from their bytes, with pydicom.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import analyses
import numpy as np
import pytest
import sources
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

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
WRITERS = (SegmentationWriter(), ParametricMapWriter(), StructuredReportWriter())
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

    def center(self, weights: np.ndarray) -> Point:
        """The centroid in this plane."""
        rows, columns = np.indices(weights.shape)
        index = np.array([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()
        return self.corner + self.to_patient @ index


@pytest.mark.parametrize("stretched", [False, True], ids=["square", "anisotropic"])
@pytest.mark.parametrize("kind", ["single", "enhanced"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_lesion_is_at_one_place(grid: str, kind: str, stretched: bool, tmp_path: Path) -> None:
    body = sources.body(lesions=2)
    body = replace(body, spacing_mm=(7.5, 5.625, 2.25)) if stretched else body
    stack = sources.stack(body, **GRIDS[grid])
    planes = {
        number: Plane.of(
            d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing, d.SOPInstanceUID
        )
        for number, d in enumerate(stack.instances)
    }
    source = stack if kind == "single" else sources.enhanced_of(body, stack)
    given = skewed(source.analysis(tmp_path, analyses.manifest()))
    results = write_results(Case(given), WRITERS)
    read = [(r.kind, dcmread(BytesIO(dataset_bytes(r.dataset)))) for r in results]
    (segmentation,) = (d for k, d in read if k is ResultKind.SEGMENTATION)
    maps = [d for k, d in read if k is ResultKind.PARAMETRIC_MAP]
    (report,) = (d for k, d in read if k is ResultKind.STRUCTURED_REPORT)
    for number, mask in enumerate(body.lesions):
        truth = center_of((planes[n], plane) for n, plane in enumerate(mask) if plane.any())
        places = {
            "SEG": center_of(segment_frames(segmentation, number + 1)),
            "map": center_of(map_frames(maps[number])),
            "SR": np.array(centers(report)[number]),
        }
        for name, place in places.items():
            assert voxels_apart(place - truth, planes, body) < 0.5, (name, place, truth)
        heat = given.findings[number].explanation.saliency.values
        slices = [source.slices[f.sop_instance_uid, f.frame_number] for f in given.images.frames]
        hot = ((planes[n], v) for n, v in zip(slices, heat, strict=True) if v.any())
        assert voxels_apart(places["map"] - center_of(hot), planes, body) < 0.01
    for frame in (f for d in (segmentation, *maps) for f in all_planes(d)):
        nearest = min(planes.values(), key=lambda p: np.linalg.norm(p.corner - frame.corner))
        assert voxels_apart(frame.corner - nearest.corner, planes, body) < 0.01
        assert np.abs(frame.to_patient - nearest.to_patient).max() < 1e-3
        assert kind == "enhanced" or frame.uid == nearest.uid
    if kind == "single":
        assert library(report) == {p.uid: pytest.approx(p.corner.tolist()) for p in planes.values()}


def skewed(given: Analysis) -> Analysis:
    """Maps that grow along the stack: one that is turned over shows."""
    ramp = np.linspace(0.8, 1.2, len(given.images.frames), dtype=np.float32)[:, None, None]
    for number, finding in enumerate(given.findings):
        saliency = finding.explanation.saliency
        map_ = replace(saliency, values=saliency.values * ramp)
        explanation = replace(finding.explanation, saliency=map_)
        given = analyses.with_finding(given, number, explanation=explanation)
    return given


def center_of(planes: Iterator[tuple[Plane, np.ndarray]]) -> Point:
    """The centroid over planes, each with its weight."""
    weighed = [(plane.center(values), float(values.sum())) for plane, values in planes]
    return np.average([c for c, _ in weighed], axis=0, weights=[w for _, w in weighed])


def voxels_apart(offset: Point, planes: Mapping[int, Plane], body: Phantom) -> float:
    """The largest distance along an axis of the grid, in voxels."""
    steps = planes[0].to_patient
    normal = (planes[1].corner - planes[0].corner)[:, None]
    return float(np.abs(np.linalg.solve(np.hstack([normal, steps]), offset)).max())


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

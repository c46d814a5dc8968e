"""The SEG holds every voxel of every mask at its place in the patient, whatever the order."""

import math
import random
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import analyses
import highdicom as hd
import numpy as np
import pytest
import sources
import validators
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.domain.images import FrameReference
from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import save_study
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.settings import ReportSettings
from workers.volume import read_views

TILT = math.radians(15)
GRIDS: dict[str, dict[str, Any]] = {
    "axial": {},
    "reversed": {"reverse": True},
    "oblique": {"directions": ((1.0, 0.0, 0.0), (0.0, math.cos(TILT), math.sin(TILT)))},
    "sagittal": {"directions": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))},
    "anisotropic": {"origin_mm": (-50.5, 20.25, 300.0)},
}


@pytest.fixture(scope="module")
def source() -> Phantom:
    return phantom(7, lesions=2, slices=24, size=96)


def written(given: Analysis, settings: ReportSettings | None = None) -> list[ResultInstance]:
    return SegmentationWriter().write(Case(given, settings or ReportSettings()), [])


def read_back(result: ResultInstance) -> hd.seg.Segmentation:
    return hd.seg.segread(BytesIO(dataset_bytes(result.dataset)))


def voxels_in_patient(segmentation: hd.seg.Segmentation, number: int) -> set[tuple[float, ...]]:
    """Centres in mm of all voxels of a segment."""
    volume = segmentation.get_volume(segment_numbers=[number])
    places = np.argwhere(volume.array[..., 0])
    return rounded(places @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def truth_in_patient(instances: list[Dataset], mask: np.ndarray) -> set[tuple[float, ...]]:
    """The same from the headers of the instances alone (PS3.3 equation C.7.6.2.1-1)."""
    places = []
    for instance in instances:
        rows, columns = np.nonzero(mask[int(instance.InstanceNumber) - 1])
        corner = np.array([float(p) for p in instance.ImagePositionPatient])
        cosines = np.reshape([float(c) for c in instance.ImageOrientationPatient], (2, 3))
        down, across = (float(s) for s in instance.PixelSpacing)
        steps = np.outer(columns * across, cosines[0]) + np.outer(rows * down, cosines[1])
        places.append(corner + steps)
    return rounded(np.concatenate(places))


def rounded(places: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(place) for place in (np.round(places, 1) + 0.0).tolist()}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_voxel_is_at_its_place_in_the_patient(
    grid: str, shuffled: bool, source: Phantom
) -> None:
    instances = analyses.study(source, **GRIDS[grid])
    if shuffled:
        random.Random(4).shuffle(instances)
    given = analyses.analysis(source, instances)
    if shuffled:
        datasets = list(given.images.datasets)
        random.Random(5).shuffle(datasets)
        given = replace(given, images=replace(given.images, datasets=tuple(datasets)))
    segmentation = read_back(written(given)[0])
    for number, mask in enumerate(source.lesions, start=1):
        assert voxels_in_patient(segmentation, number) == truth_in_patient(instances, mask)


def test_the_object_says_what_it_is() -> None:
    given = analyses.analysis()
    dataset = read_back(written(given)[0])
    segment = dataset.get_segment_description(1)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.SegmentationType == "BINARY"
    assert dataset.SeriesDescription.startswith("AI Phantom lesion detector")
    assert "not for diagnostic use" in dataset.SeriesDescription
    assert dataset.ContentQualification == "RESEARCH"
    assert segment.tracking_uid == given.findings[0].tracking_uid
    assert segment.tracking_id == given.findings[0].tracking_id
    assert "at least 0.5" in segment.SegmentDescription
    assert hd.color.CIELabColor.from_dicom_value(
        segment.RecommendedDisplayCIELabValue
    ).to_rgb() == pytest.approx((255, 180, 0), abs=1)
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Trunk"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "1.2.0"
    assert given.provenance.bundle_sha256 in algorithm.AlgorithmParameters


def test_it_refers_to_the_series_and_to_each_image_it_covers() -> None:
    given = analyses.analysis()
    dataset = read_back(written(given)[0])
    series = dataset.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == given.images.datasets[0].SeriesInstanceUID
    frames = np.flatnonzero(given.segments[0].mask.any(axis=(1, 2)))
    covered = {
        item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for item in dataset.PerFrameFunctionalGroupsSequence
    }
    assert covered == {given.images.frames[i].sop_instance_uid for i in frames}


def test_overlapping_segments_keep_all_their_voxels(source: Phantom) -> None:
    given = analyses.analysis(source)
    wide = replace(given.segments[1], mask=given.segments[0].mask | given.segments[1].mask)
    segmentation = read_back(written(replace(given, segments=(given.segments[0], wide)))[0])
    assert segmentation.SegmentsOverlap == "YES"
    counts = [len(voxels_in_patient(segmentation, number)) for number in (1, 2)]
    assert counts == [given.segments[0].mask.sum(), wide.mask.sum()]


def test_without_segments_there_is_no_object() -> None:
    none = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    assert written(none) == []


def test_frames_of_a_multi_frame_source_go_back_to_where_they_came_from(source: Phantom) -> None:
    instances = analyses.study(source)
    multi, given = as_multi_frame(source, instances)
    segmentation = read_back(written(given)[0])
    for number, mask in enumerate(source.lesions, start=1):
        assert voxels_in_patient(segmentation, number) == truth_in_patient(instances, mask)
    reference = segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert reference.SourceImageSequence[0].ReferencedSOPInstanceUID == multi.SOPInstanceUID


def as_multi_frame(source: Phantom, instances: list[Dataset]) -> tuple[Dataset, Analysis]:
    """One enhanced CT whose frames lie in reverse, and the analysis of it."""
    multi = hd.legacy.LegacyConvertedEnhancedCTImage(instances[::-1], "2.25.1002", 2, "2.25.77", 1)
    del multi.PixelData
    given = analyses.analysis(source, instances)
    numbers = {
        tuple(float(p) for p in item.PlanePositionSequence[0].ImagePositionPatient): number
        for number, item in enumerate(multi.PerFrameFunctionalGroupsSequence, start=1)
    }
    frames = tuple(
        FrameReference(
            str(multi.SOPClassUID),
            str(multi.SOPInstanceUID),
            numbers[tuple(float(p) for p in dataset.ImagePositionPatient)],
        )
        for dataset in given.images.datasets
    )
    images = replace(given.images, datasets=(multi,), frames=frames)
    return multi, replace(given, images=images)


def test_frames_of_several_multi_frame_images_keep_their_references(source: Phantom) -> None:
    instances = analyses.study(source)
    multi, given = as_multi_frame(source, instances)
    other = deepcopy(multi)
    other.SOPInstanceUID = "2.25.78"
    frames = [replace(f, sop_instance_uid="2.25.78") for f in given.images.frames[:12]]
    images = replace(
        given.images, datasets=(other, multi), frames=(*frames, *given.images.frames[12:])
    )
    segmentation = read_back(written(replace(given, images=images))[0])
    for number, mask in enumerate(source.lesions, start=1):
        assert voxels_in_patient(segmentation, number) == truth_in_patient(instances, mask)
    touched = {
        images.frames[frame]
        for mask in source.lesions
        for frame in np.flatnonzero(mask.any((1, 2)))
    }
    assert references(segmentation) == {(f.sop_instance_uid, f.frame_number) for f in touched}


def references(segmentation: Dataset) -> set[tuple[str, int | None]]:
    """Source image and frame of every frame."""
    items = (
        group.DerivationImageSequence[0].SourceImageSequence[0]
        for group in segmentation.PerFrameFunctionalGroupsSequence
    )
    return {(i.ReferencedSOPInstanceUID, i.get("ReferencedFrameNumber")) for i in items}


@pytest.mark.parametrize("encoding", ["LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("size", [96, 97])
def test_other_encodings_hold_the_same_voxels(encoding: Any, size: int) -> None:
    source = phantom(7, lesions=2, slices=24, size=size)
    instances = analyses.study(source)
    given = analyses.analysis(source, instances)
    segmentation = read_back(written(given, ReportSettings(segmentation=encoding))[0])
    assert segmentation.SegmentationType == encoding
    for number, mask in enumerate(source.lesions, start=1):
        assert voxels_in_patient(segmentation, number) == truth_in_patient(instances, mask)


def test_a_fractional_seg_keeps_the_probabilities_inside_the_outline(source: Phantom) -> None:
    given = analyses.analysis(source)
    prediction = replace(given.prediction, masks=given.prediction.masks * np.float32(0.8))
    settings = ReportSettings(segmentation="FRACTIONAL")
    segmentation = read_back(written(replace(given, prediction=prediction), settings)[0])
    volume = segmentation.get_volume(rescale_fractional=True)
    assert np.unique(volume.array) == pytest.approx([0, 0.8], abs=1 / 255)
    assert segmentation.SegmentationFractionalType == "PROBABILITY"


def test_a_label_map_that_cannot_hold_overlapping_segments_becomes_binary(source: Phantom) -> None:
    given = analyses.analysis(source)
    wide = replace(given.segments[1], mask=given.segments[0].mask | given.segments[1].mask)
    overlapping = replace(given, segments=(given.segments[0], wide))
    segmentation = read_back(written(overlapping, ReportSettings(segmentation="LABELMAP"))[0])
    assert segmentation.SegmentationType == "BINARY"
    counts = [len(voxels_in_patient(segmentation, number)) for number in (1, 2)]
    assert counts == [given.segments[0].mask.sum(), wide.mask.sum()]


@pytest.mark.validators
@pytest.mark.parametrize("encoding", ["BINARY", "FRACTIONAL"])
def test_a_cine_without_a_frame_of_reference_names_the_frames_it_covers(
    encoding: Any, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy")
    given = as_cine(analyses.analysis(phantom(7, lesions=1, slices=12, size=97)))
    (result,) = written(given, ReportSettings(segmentation=encoding))
    path = tmp_path / "seg.dcm"
    path.write_bytes(dataset_bytes(result.dataset))
    assert validators.dciodvfy(path) == []
    segmentation = read_back(result)
    assert "FrameOfReferenceUID" not in segmentation
    mask = given.segments[0].mask
    frames = [int(frame) + 1 for frame in np.flatnonzero(mask.any(axis=(1, 2)))]
    pixels = segmentation.get_pixels_by_source_frame("2.25.91", frames)[..., 0]
    assert ((pixels > 0) == mask[[number - 1 for number in frames]]).all()


def as_cine(given: Analysis) -> Analysis:
    """The same frames as an ultrasound loop, which lies nowhere in the patient."""
    header = deepcopy(given.images.datasets[0])
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(header, keyword)
    header.SOPClassUID, header.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "2.25.91"
    header.Modality, header.NumberOfFrames = "US", len(given.images.frames)
    frames = tuple(
        FrameReference(str(header.SOPClassUID), "2.25.91", number)
        for number in range(1, header.NumberOfFrames + 1)
    )
    images = replace(given.images, datasets=(header,), frames=frames, affine=None)
    return replace(given, images=images)


def test_images_are_named_in_the_series_that_they_are_of(tmp_path: Path) -> None:
    given = two_views(tmp_path)
    dataset = written(given)[0].dataset
    named = {
        item.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for series in dataset.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }
    expected = {d.SOPInstanceUID: d.SeriesInstanceUID for d in given.images.datasets}
    assert len(set(expected.values())) == 2
    assert named == expected


def two_views(folder: Path) -> Analysis:
    """A mass in the second of two views, which are series of their own."""
    dense = sources.body(lesions=2)
    first, second = sources.KINDS["MG"](dense).instances
    second.SeriesInstanceUID, second.ImagerPixelSpacing = "2.25.4711", [0.4, 0.4]
    images = read_views(save_study([first, second], folder))
    masks = np.zeros((2, *images.pixels.shape), bool)
    masks[0, 0, 20:30, 20:30] = masks[1, 1, 40:50, 30:40] = True
    return analyses.of_images(images, list(masks), analyses.manifest())


def test_a_stack_without_a_frame_of_reference_is_refused_and_none_is_made_up() -> None:
    given = analyses.analysis()
    for header in given.images.datasets:
        del header.FrameOfReferenceUID
    with pytest.raises(UnsupportedGeometry, match="Frame of Reference"):
        written(given)

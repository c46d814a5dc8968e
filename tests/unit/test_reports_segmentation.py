"""The SEG holds every voxel of every mask at its place in the patient, whatever the order."""

import math
import random
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from typing import Any

import analyses
import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.analysis import Analysis, FrameReference, ResultInstance
from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.testing.phantom import Phantom, phantom
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter

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


def written(given: Analysis) -> list[ResultInstance]:
    return SegmentationWriter().write(Case(given), [])


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


def test_frames_of_several_multi_frame_images_are_refused_with_a_reason(source: Phantom) -> None:
    instances = analyses.study(source)
    multi, given = as_multi_frame(source, instances)
    other = deepcopy(multi)
    other.SOPInstanceUID = "2.25.78"
    frames = [replace(f, sop_instance_uid="2.25.78") for f in given.images.frames[:3]]
    images = replace(
        given.images, datasets=(multi, other), frames=(*frames, *given.images.frames[3:])
    )
    with pytest.raises(UnsupportedGeometry, match=r"2\.25\.1002"):
        written(replace(given, images=images))


def test_a_stack_without_a_frame_of_reference_is_refused_and_none_is_made_up() -> None:
    given = analyses.analysis()
    for header in given.images.datasets:
        del header.FrameOfReferenceUID
    with pytest.raises(UnsupportedGeometry, match="Frame of Reference"):
        written(given)

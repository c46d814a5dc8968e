"""DICOM SEG: the masks, voxel for voxel on the grid of the source (PS3.3 A.51)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.seg import (
    Segmentation as SegmentationImage,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.analysis import ResultInstance, SegmentMask
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.errors import UnsupportedGeometry
from reports.case import Case
from reports.identity import identify, instance_uid, series_description
from reports.settings import SHORT_DISCLAIMER
from reports.source import UTF8


@dataclass(frozen=True, slots=True)
class SegmentationWriter:
    """Writes one BINARY SEG, or nothing where no segment was found."""

    kind: ClassVar[ResultKind] = ResultKind.SEGMENTATION

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance, or none.

        Raises ``UnsupportedGeometry`` where a stack of images names no frame of reference, and
        where several multi-frame images carry the frames: the class refers to one multi-frame
        image or to many single-frame ones.
        """
        if not case.analysis.segments:
            return []
        _require_frame_of_reference(case)
        dataset = _segmentation(case)
        identify(dataset, case, ResultKind.SEGMENTATION)
        _fix_dimension_organization(dataset, case)
        _orient_projection(dataset, case.sources.first)
        return [ResultInstance(ResultKind.SEGMENTATION, dataset)]


def _segmentation(case: Case) -> Dataset:
    sources = _ordered_sources(case)
    segments = sorted(case.analysis.segments, key=lambda s: s.number)
    manifest = case.analysis.manifest
    return SegmentationImage(
        source_images=sources,
        pixel_array=_in_file_order(case, sources, _stack(segments)),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(case, segment) for segment in segments],
        series_instance_uid=case.analysis.provenance.uid(f"series|{ResultKind.SEGMENTATION.value}"),
        series_number=case.settings.series_number_base + 1,
        sop_instance_uid=instance_uid(case, ResultKind.SEGMENTATION),
        instance_number=1,
        manufacturer=manifest.manufacturer,
        manufacturer_model_name=manifest.title,
        software_versions=manifest.id,
        device_serial_number=case.analysis.provenance.bundle_sha256,
        content_label="AI_SEGMENTATION",
        content_description=series_description(case.maker, ResultKind.SEGMENTATION),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=UTF8,
    )


def _require_frame_of_reference(case: Case) -> None:
    """Only a single projection image may go without (PS3.3 C.7.4.1); none is ever made up."""
    images, first = case.analysis.images, case.sources.first
    single_projection = images.affine is None and len(images.frames) == 1
    if "FrameOfReferenceUID" not in first and not single_projection:
        raise UnsupportedGeometry(
            f"series {first.SeriesInstanceUID}: its images name no Frame of Reference UID, which "
            "their class requires; a SEG of them could not say where its voxels lie"
        )


def _ordered_sources(case: Case) -> list[Dataset]:
    """The source images: single frames in the order of the frames, or one multi-frame image."""
    frames = case.analysis.images.frames
    headers = {reference.sop_instance_uid: case.header(i) for i, reference in enumerate(frames)}
    if len(headers) > 1 and len(headers) != len(frames):
        raise UnsupportedGeometry(
            f"series {case.sources.first.SeriesInstanceUID}: its frames lie in {len(headers)} "
            "multi-frame images; a SEG refers to one of them: send one multi-frame image a series"
        )
    return list(headers.values())


def _stack(segments: Sequence[SegmentMask]) -> NDArray[np.unsignedinteger]:
    """(frames, rows, columns) of segment numbers, with a last axis of 0 and 1 if masks overlap."""
    dtype = np.uint8 if len(segments) <= np.iinfo(np.uint8).max else np.uint16
    label_map = np.zeros(segments[0].mask.shape, dtype=dtype)
    for segment in segments:
        if np.any(label_map[segment.mask]):
            return np.stack([s.mask for s in segments], axis=-1).astype(np.uint8)
        label_map[segment.mask] = segment.number
    return label_map


def _in_file_order(
    case: Case, sources: Sequence[Dataset], pixels: NDArray[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """Move frames to where the multi-frame source has them; frames not read stay empty."""
    numbers = [reference.frame_number for reference in case.analysis.images.frames]
    if len(sources) > 1 or numbers[0] is None:
        return pixels
    placed = np.zeros((int(sources[0].NumberOfFrames), *pixels.shape[1:]), dtype=pixels.dtype)
    placed[[int(number or 1) - 1 for number in numbers]] = pixels
    return placed


def _description(case: Case, segment: SegmentMask) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=segment.category,
        segmented_property_type=segment.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(case, segment),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=_sites(case, segment) or None,
        display_color=CIELabColor.from_rgb(*segment.color),
    )
    description.SegmentDescription = (
        f"Connected part of {segment.label} where the model's output is at least "
        f"{segment.threshold:g}. {SHORT_DISCLAIMER}"
    )
    return description


def _algorithm(case: Case, segment: SegmentMask) -> AlgorithmIdentificationSequence:
    manifest = case.analysis.manifest
    return AlgorithmIdentificationSequence(
        name=manifest.title,
        family=codes.DCM.ArtificialIntelligence,
        version=manifest.version,
        source=manifest.manufacturer,
        parameters=_parameters(case, segment),
    )


def _parameters(case: Case, segment: SegmentMask) -> dict[str, str]:
    provenance = case.analysis.provenance
    return {
        "threshold": f"{segment.threshold:g}",
        "bundle_sha256": provenance.bundle_sha256,
        "config_sha256": provenance.config_sha256,
    }


def _sites(case: Case, segment: SegmentMask) -> list[Code]:
    sites: Mapping[int, Any] = {
        f.segment.number: f.target.site for f in case.analysis.findings if f.segment is not None
    }
    site = sites.get(segment.number)
    return [site.code] if site is not None else []


def _fix_dimension_organization(dataset: Dataset, case: Case) -> None:
    """The constructor draws a random UID; a second run must write the same bytes."""
    uid = case.analysis.provenance.uid("dimension-organization")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in dataset.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid


def _orient_projection(dataset: Dataset, source: Dataset) -> None:
    """Without a frame of reference, Patient Orientation is all that says where left is."""
    if "FrameOfReferenceUID" not in source:
        dataset.PatientOrientation = source.get("PatientOrientation") or []


def mask_frames(segment: SegmentMask) -> list[int]:
    """Indices of the frames that a segment touches."""
    return [int(frame) for frame in np.flatnonzero(np.any(segment.mask, axis=(1, 2)))]

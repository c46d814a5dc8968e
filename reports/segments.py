"""The items of the Segment Sequence: what each segment is, who made it, how (PS3.3 C.8.20.4)."""

from collections.abc import Sequence

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import SegmentMask
from reports.case import Case
from reports.identity import code_item
from reports.language import _, number
from reports.settings import SHORT_DISCLAIMER
from reports.side import asked_of, side_of
from reports.wording import segment_name

BLACK = CIELabColor(0.0, 0.0, 0.0)


def description(case: Case, segment: SegmentMask) -> Dataset:
    """One segment, with the tracking identifiers of the finding that it shows."""
    item: Dataset = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=segment.category,
        segmented_property_type=segment.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(case, segment),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        display_color=CIELabColor.from_rgb(*segment.color),
    )
    item.SegmentDescription = _(
        "{label}: where the model's output is at least {threshold}. {warning}"
    ).format(
        label=segment_name(case.analysis, segment),
        threshold=number(segment.threshold),
        warning=_(SHORT_DISCLAIMER),
    )
    if regions := _anatomic_regions(case, segment):
        item.AnatomicRegionSequence = regions
    return item


def background() -> Dataset:
    """Segment 0, which a label map must describe, too."""
    item: Dataset = SegmentDescription(
        segment_number=1,
        segment_label="Background",
        segmented_property_category=codes.DCM.Background,
        segmented_property_type=codes.DCM.Background,
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
        display_color=BLACK,
    )
    item.SegmentNumber, item.SegmentAlgorithmType = 0, SegmentAlgorithmTypeValues.AUTOMATIC.value
    return item


def _algorithm(case: Case, segment: SegmentMask) -> AlgorithmIdentificationSequence:
    manifest, provenance = case.analysis.manifest, case.provenance
    return AlgorithmIdentificationSequence(
        name=manifest.title,
        family=codes.DCM.ArtificialIntelligence,
        version=manifest.version,
        source=manifest.manufacturer,
        parameters={
            "threshold": f"{segment.threshold:g}",
            "bundle_sha256": provenance.bundle_sha256,
            "config_sha256": provenance.config_sha256,
        },
    )


def _anatomic_regions(case: Case, segment: SegmentMask) -> list[Dataset]:
    """The site of the answer that has this segment, with its side."""
    answers = case.analysis.answers
    shown = (a for a in answers if a.segment is not None and a.segment.number == segment.number)
    answer = next(shown, None)
    asked = asked_of(answer) if answer else None
    if answer is None or asked is None or asked.site is None:
        return []
    item = code_item(asked.site.code)
    if side := side_of(case.analysis.images, answer):
        item.AnatomicRegionModifierSequence = [code_item(side)]
    return [item]


def overlapping(segments: Sequence[SegmentMask]) -> bool:
    """Whether a voxel belongs to more than one segment."""
    seen: dict[int, BoolArray] = {}
    for segment in segments:
        for frame in segment.frames:
            plane = segment.mask[frame]
            if frame in seen and (seen[frame] & plane).any():
                return True
            seen[frame] = seen[frame] | plane if frame in seen else plane
    return False

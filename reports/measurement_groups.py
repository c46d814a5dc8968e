"""One finding, or one estimate, as one Measurement Group.

TID 1411 where a segment shows it in a volume, TID 1410 where it shows it in an image that is part
of none, or where a box shows it, else TID 1501. Where there is a segment, a point says where it
lies, which a reader of the SR alone can go to.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ContentItem,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.asked import Asked
from dicom_node.domain.concepts import DERIVED_IMAGE
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Answer, Finding, Presence, SegmentMask
from dicom_node.domain.manifest import Segment, Target
from dicom_node.domain.prediction import Box
from dicom_node.domain.provenance import Provenance
from reports.calibration import calibration_parameter, probability_text, stated_percent
from reports.case import Case
from reports.key_slices import is_absent
from reports.language import _
from reports.location import center
from reports.multiframe import MANY
from reports.segmentation import frame_number
from reports.side import asked_of, side_of
from reports.verdict import COMMENT, verdict
from reports.visual_explanation import visual_explanations
from reports.wording import NOT_OUTLINED, explanation_text, shares_text

PRESENCE = {
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
"""CID 240 Present-Absent."""
PROBABILITY = Code("122157", "DCM", "Probability")
PRESENCE_OF_PROPERTY = Code("121052", "DCM", "Presence of property")
CONTAINS = RelationshipTypeValues.CONTAINS

Group = (
    MeasurementsAndQualitativeEvaluations
    | PlanarROIMeasurementsAndQualitativeEvaluations
    | VolumetricROIMeasurementsAndQualitativeEvaluations
)


def measurement_group(
    case: Case, finding: Answer, earlier: Sequence[ResultInstance], *, flat: bool = False
) -> Group:
    """Encode one answer; ``earlier`` holds the SEG, maps and captures that it may refer to.

    ``flat``: without coordinates in the patient, which Comprehensive and Enhanced SR do not know.
    An absent finding is a whole-image group that says Absent: silence never reads as negative.
    """
    segmentation = next((r.dataset for r in earlier if r.kind is ResultKind.SEGMENTATION), None)
    segment = finding.segment
    if finding.box is not None:
        group: Group = _in_box(case, finding, finding.box)
    elif segment is None or segmentation is None:
        group = _on_images(case, finding)
    else:
        group = _on_segment(case, finding, segment, segmentation)
        group[0].ContentSequence.append(center(case, segment, flat=flat))
    group[0].ContentSequence.extend(_explanation(case, finding, earlier))
    group[0].ContentSequence.extend(_made(finding, earlier))
    return group


def _on_segment(case: Case, finding: Answer, segment: SegmentMask, segmentation: Dataset) -> Group:
    """The plain constructors, for ``from_segmentation`` fails on a single segment."""
    images = _segmented_images(case, segment)
    reference = (segmentation.SOPClassUID, segmentation.SOPInstanceUID)
    if case.analysis.images.is_volume:
        return VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=ReferencedSegment(*reference, segment.number, source_images=images),
            **_common(case, finding),
        )
    source = case.reference(segment.frames[0])
    frame = frame_number(segmentation, segment, source)
    shown = ReferencedSegmentationFrame(*reference, frame, segment.number, source_image=images[0])
    del shown[0].ReferencedSOPSequence[0].ReferencedSegmentNumber  # never beside a frame number
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=shown, **_common(case, finding)
    )


def _in_box(
    case: Case, finding: Answer, box: Box
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410 with a closed polyline: SCOORD counts from the outer edge (PS3.3 C.18.6.1.1)."""
    (top, left), (bottom, right) = (np.array(corner) + 0.5 for corner in (box.first, box.last))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    reference = case.reference(box.frame)
    number = None if reference.frame_number is None else [reference.frame_number]
    source = SourceImageForRegion(reference.sop_class_uid, reference.sop_instance_uid, number)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=ImageRegion(GraphicTypeValues.POLYLINE, np.array(corners), source),
        **_common(case, finding),
    )


def _on_images(case: Case, finding: Answer) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501; what is not there is a finding of all images of the library."""
    return MeasurementsAndQualitativeEvaluations(
        source_images=None if is_absent(finding) else [_key_image(case, finding.frame)],
        **_common(case, finding),
    )


def _common(case: Case, finding: Answer) -> dict[str, Any]:
    """What the three templates share."""
    asked = asked_of(finding)
    return {
        "tracking_identifier": TrackingIdentifier(finding.tracking_uid, finding.tracking_id),
        "finding_type": finding.code,
        "finding_category": finding.category,
        "finding_sites": _sites(case, finding),
        "algorithm_id": algorithm(case, asked),
        "measurements": _measurements(case, finding),
        "qualitative_evaluations": _presence(finding),
    }


def _segmented_images(case: Case, segment: SegmentMask) -> list[SourceImageForSegmentation]:
    by_instance: dict[tuple[str, str], list[int]] = {}
    for frame in segment.frames:
        reference = case.reference(frame)
        numbers = by_instance.setdefault((reference.sop_class_uid, reference.sop_instance_uid), [])
        if reference.frame_number is not None:
            numbers.append(reference.frame_number)
    return [
        _segmented(*instance, tuple(sorted(numbers))) for instance, numbers in by_instance.items()
    ]


@lru_cache(maxsize=MANY)
def _segmented(
    sop_class: str, instance: str, frames: tuple[int, ...]
) -> SourceImageForSegmentation:
    """One item for all segments of an image, in all forms of the report."""
    return SourceImageForSegmentation(sop_class, instance, list(frames) or None)


def _key_image(case: Case, frame: int) -> SourceImageForMeasurementGroup:
    reference = case.reference(frame)
    number = reference.frame_number
    return SourceImageForMeasurementGroup(
        reference.sop_class_uid,
        reference.sop_instance_uid,
        None if number is None else [number],
    )


def _sites(case: Case, finding: Answer) -> list[FindingSite] | None:
    """The site with its side."""
    asked = asked_of(finding)
    if asked is None or asked.site is None:
        return None
    side = side_of(case.analysis.images, finding)
    return [FindingSite(anatomic_location=asked.site.code, laterality=side)]


def algorithm(case: Case, asked: Asked | None) -> AlgorithmIdentification:
    """TID 4019, with the operating point and all that decides what the algorithm does."""
    manifest = case.analysis.manifest
    return AlgorithmIdentification(
        name=manifest.title,
        version=manifest.version,
        manufacturer=manifest.manufacturer,
        family=codes.DCM.ArtificialIntelligence,
        parameters=parameters(asked, case.provenance),
    )


def parameters(asked: Asked | None, provenance: Provenance) -> list[str]:
    """What was asked, at which operating point, of which bytes, under which settings."""
    hashes = [
        f"bundle_sha256={provenance.bundle_sha256}",
        f"config_sha256={provenance.config_sha256}",
    ]
    return [*_question(asked), *hashes]


def _question(asked: Asked | None) -> list[str]:
    if isinstance(asked, Target):
        return [
            f"target={asked.label}",
            f"operating_threshold={asked.threshold:g}",
            calibration_parameter(asked),
        ]
    if isinstance(asked, Segment):
        return [f"segment={asked.label}", f"operating_threshold={asked.threshold:g}"]
    return [f"quantity={asked.label}"] if asked else []


def _measurements(case: Case, finding: Answer) -> list[Measurement]:
    features = [s.feature for s in finding.shares] if isinstance(finding, Finding) else []
    given = (*finding.measurements, *features)
    others = [Measurement(name=m.name, value=m.value, unit=m.unit) for m in given]
    return [_probability(case, finding), *others] if isinstance(finding, Finding) else others


def _probability(case: Case, finding: Finding) -> Measurement:
    """As a number, with what makes it comparable: calibration and operating point."""
    text = probability_text(case.analysis.manifest, finding.target)
    value = stated_percent(finding)
    measurement = Measurement(name=PROBABILITY, value=value, unit=codes.UCUM.Percent)
    item = TextContentItem(COMMENT, text, RelationshipTypeValues.HAS_PROPERTIES)
    measurement[0].ContentSequence = ContentSequence([item])
    return measurement


def _presence(answer: Answer) -> list[QualitativeEvaluation] | None:
    """None of a number, which says that it is there, and none of an image."""
    if isinstance(answer, Finding):
        said = answer.presence
    elif answer.outlined:
        said = Presence.ABSENT if answer.missing else Presence.PRESENT
    else:
        return None
    return [QualitativeEvaluation(name=PRESENCE_OF_PROPERTY, value=PRESENCE[said])]


def _made(finding: Answer, earlier: Sequence[ResultInstance]) -> list[ImageContentItem]:
    """Of an image that the model made, the one of the key slice."""
    made = [result.dataset for result in earlier if result.kind is ResultKind.DERIVED_IMAGE]
    if finding.category != DERIVED_IMAGE or not made:
        return []
    image = made[finding.frame]
    reference = (image.SOPClassUID, image.SOPInstanceUID)
    return [ImageContentItem(DERIVED_IMAGE, *reference, relationship_type=CONTAINS)]


def _explanation(
    case: Case, finding: Answer, earlier: Sequence[ResultInstance]
) -> list[ContentItem]:
    """The map, its method, and how far it can be believed; or what features added; or why none."""
    if isinstance(finding, Finding) and finding.shares:
        return [TextContentItem(COMMENT, shares_text(finding.shares), CONTAINS)]
    if not isinstance(finding, Finding) and finding.missing:
        return [TextContentItem(COMMENT, _(NOT_OUTLINED), CONTAINS)]
    if finding.explanation is None:
        return []
    text = TextContentItem(COMMENT, explanation_text(case.analysis, finding), CONTAINS)
    shown = visual_explanations(case, finding, finding.explanation, earlier)
    return [*shown, text, verdict(finding.explanation.quality)]

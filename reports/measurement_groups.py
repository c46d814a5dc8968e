"""One finding as one Measurement Group: TID 1411 where a segment shows it, else TID 1501."""

from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
    ImageContentItem,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Explanation, Finding, Presence, ResultInstance, SegmentMask
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.manifest import Target
from reports.case import Case
from reports.identity import instance_uid
from reports.segmentation import mask_frames
from reports.wording import explanation_text

PRESENCE = {
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
"""CID 240 Present-Absent."""
PROBABILITY = Code("122157", "DCM", "Probability")
PRESENCE_OF_PROPERTY = Code("121052", "DCM", "Presence of property")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
COMMENT = Code("121106", "DCM", "Comment")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
CONTAINS = RelationshipTypeValues.CONTAINS

Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


def measurement_group(case: Case, finding: Finding, earlier: Sequence[ResultInstance]) -> Group:
    """Encode one finding; ``earlier`` holds the SEG and the captures that it may refer to.

    An absent finding is a whole-image group that says Absent: silence never reads as negative.
    """
    segmentation = _of_kind(earlier, ResultKind.SEGMENTATION)
    group: Group = (
        _on_segment(case, finding, finding.segment, segmentation[0])
        if finding.segment is not None and segmentation
        else _on_images(case, finding)
    )
    group[0].ContentSequence.extend(_explanation(case, finding, earlier))
    return group


def _of_kind(earlier: Sequence[ResultInstance], kind: ResultKind) -> list[Dataset]:
    return [result.dataset for result in earlier if result.kind is kind]


def _on_segment(
    case: Case, finding: Finding, segment: SegmentMask, segmentation: Dataset
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411; the plain constructor, for ``from_segmentation`` fails on a single segment."""
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=segment.number,
            source_images=_segmented_images(case, segment),
        ),
        tracking_identifier=TrackingIdentifier(finding.tracking_uid, finding.tracking_id),
        finding_type=finding.target.finding.code,
        finding_category=finding.target.category.code,
        finding_sites=_sites(finding.target),
        algorithm_id=algorithm(case, finding.target),
        measurements=_measurements(finding),
        qualitative_evaluations=[_presence(finding)],
    )


def _on_images(case: Case, finding: Finding) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501; an absent finding is one of all images of the library."""
    present = finding.presence is not Presence.ABSENT
    return MeasurementsAndQualitativeEvaluations(
        source_images=[_key_image(case, finding.frame)] if present else None,
        tracking_identifier=TrackingIdentifier(finding.tracking_uid, finding.tracking_id),
        finding_type=finding.target.finding.code,
        finding_category=finding.target.category.code,
        finding_sites=_sites(finding.target),
        algorithm_id=algorithm(case, finding.target),
        measurements=_measurements(finding),
        qualitative_evaluations=[_presence(finding)],
    )


def _segmented_images(case: Case, segment: SegmentMask) -> list[SourceImageForSegmentation]:
    by_instance: dict[tuple[str, str], list[int]] = {}
    for frame in mask_frames(segment):
        reference = case.reference(frame)
        numbers = by_instance.setdefault((reference.sop_class_uid, reference.sop_instance_uid), [])
        if reference.frame_number is not None:
            numbers.append(reference.frame_number)
    return [
        SourceImageForSegmentation(sop_class, instance, sorted(numbers) or None)
        for (sop_class, instance), numbers in by_instance.items()
    ]


def _key_image(case: Case, frame: int) -> SourceImageForMeasurementGroup:
    reference = case.reference(frame)
    number = reference.frame_number
    return SourceImageForMeasurementGroup(
        reference.sop_class_uid,
        reference.sop_instance_uid,
        None if number is None else [number],
    )


def _sites(target: Target) -> list[FindingSite] | None:
    return [FindingSite(anatomic_location=target.site.code)] if target.site else None


def algorithm(case: Case, target: Target) -> AlgorithmIdentification:
    """TID 4019, with the operating point and all that decides what the algorithm does."""
    manifest, provenance = case.analysis.manifest, case.analysis.provenance
    return AlgorithmIdentification(
        name=manifest.title,
        version=manifest.version,
        manufacturer=manifest.manufacturer,
        family=codes.DCM.ArtificialIntelligence,
        parameters=[
            f"target={target.label}",
            f"operating_threshold={target.threshold:g}",
            f"calibration=temperature scaling, T={target.temperature:g}",
            f"bundle_sha256={provenance.bundle_sha256}",
            f"config_sha256={provenance.config_sha256}",
        ],
    )


def _measurements(finding: Finding) -> list[Measurement]:
    percent = round(100 * finding.probability, 1)
    probability = Measurement(name=PROBABILITY, value=percent, unit=codes.UCUM.Percent)
    others = [Measurement(name=m.name, value=m.value, unit=m.unit) for m in finding.measurements]
    return [probability, *others]


def _presence(finding: Finding) -> QualitativeEvaluation:
    return QualitativeEvaluation(name=PRESENCE_OF_PROPERTY, value=PRESENCE[finding.presence])


def _explanation(
    case: Case, finding: Finding, earlier: Sequence[ResultInstance]
) -> list[ContentItem]:
    """The picture of the map (TID 1501 row 9d), its method, and how far it can be believed."""
    if finding.explanation is None:
        return []
    captures = _of_kind(earlier, ResultKind.SECONDARY_CAPTURE)
    text = TextContentItem(
        name=COMMENT,
        value=explanation_text(case.analysis, finding),
        relationship_type=CONTAINS,
    )
    return [*_visual_explanation(case, finding, finding.explanation, captures), text]


def _visual_explanation(
    case: Case, finding: Finding, explanation: Explanation, captures: Sequence[Dataset]
) -> list[ImageContentItem]:
    numbers = [key.number for key in case.key_slices if any(f is finding for f in key.findings)]
    uids = {instance_uid(case, ResultKind.SECONDARY_CAPTURE, n - 1) for n in numbers}
    items = [
        ImageContentItem(
            name=VISUAL_EXPLANATION,
            referenced_sop_class_uid=capture.SOPClassUID,
            referenced_sop_instance_uid=capture.SOPInstanceUID,
            relationship_type=CONTAINS,
        )
        for capture in captures
        if capture.SOPInstanceUID in uids
    ]
    for item in items:
        item.ContentSequence = ContentSequence([_method(explanation)])
    return items


def _method(explanation: Explanation) -> CodeContentItem:
    return CodeContentItem(
        name=MEASUREMENT_METHOD,
        value=explanation.saliency.method,
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )

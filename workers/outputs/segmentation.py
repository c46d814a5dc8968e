"""Segmentation: a logit for each pixel and segment. Without targets, the segments are measured."""

from dataclasses import replace

from dicom_node.domain.analysis import Estimate, SegmentMask
from dicom_node.domain.outputs import Segmentation
from dicom_node.domain.prediction import Prediction
from workers.findings import Answers, Case, context
from workers.measure import longest_slice, measurements
from workers.outputs.said import Said


def read(prediction: Prediction, plan: Segmentation, said: Said) -> Prediction:
    """Probabilities on the source's grid; 0 beyond the model's."""
    masks = said.model.mask_probabilities(said.planes(plan.kind))
    return replace(prediction, masks=said.prepared.on_source(masks))


def answer(case: Case, plan: Segmentation) -> Answers:
    """A segment each where there is any of it, measured; nothing where targets speak of them."""
    if case.manifest.classification is not None:
        return Answers()
    segments = tuple(context(case, set()))
    return Answers(segments=segments, estimates=tuple(_measured(case, s, plan) for s in segments))


def _measured(case: Case, segment: SegmentMask, plan: Segmentation) -> Estimate:
    frame = longest_slice(segment.mask, case.images)
    return Estimate(
        label=segment.label,
        finding=segment.type,
        category=segment.category,
        frame=frame,
        tracking_id=segment.tracking_id,
        tracking_uid=segment.tracking_uid,
        measurements=measurements(segment.mask, frame, case.images),
        source=plan.segments[segment.channel],
        segment=segment,
    )

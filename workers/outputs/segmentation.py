"""Segmentation: a logit for each pixel and segment. Without targets, the segments are measured."""

from dataclasses import replace

from pydicom.sr.codedict import codes

from dicom_node.domain.findings import Estimate, Measurement, SegmentMask
from dicom_node.domain.outputs import Segment, Segmentation
from dicom_node.domain.prediction import Prediction
from workers.findings import Answers, Case, context
from workers.measure import MILLILITRE, longest_slice, measurements
from workers.outputs.said import Said


def read(prediction: Prediction, plan: Segmentation, said: Said) -> Prediction:
    """Probabilities on the source's grid; 0 beyond the model's."""
    masks = said.model.mask_probabilities(said.planes(plan.kind))
    return replace(prediction, masks=said.prepared.on_source(masks))


def answer(case: Case, plan: Segmentation) -> Answers:
    """Each segment, measured: 0 where there is nothing of it. Where targets speak, they do."""
    if case.manifest.classification is not None:
        return Answers()
    segments = tuple(context(case, set()))
    drawn = {segment.channel: segment for segment in segments}
    estimates = [
        _measured(case, drawn[channel]) if channel in drawn else _nothing(case, segment)
        for channel, segment in enumerate(plan.segments)
    ]
    return Answers(segments=segments, estimates=tuple(estimates))


def _nothing(case: Case, segment: Segment) -> Estimate:
    return Estimate(
        segment.label,
        segment.type.code,
        segment.category.code,
        len(case.images.frames) // 2,
        *case.tracking(segment.label),
        measurements=(Measurement(codes.SCT.Volume, 0.0, MILLILITRE),),
    )


def _measured(case: Case, segment: SegmentMask) -> Estimate:
    frame = longest_slice(segment.mask, case.images)
    return Estimate(
        label=segment.label,
        code=segment.type,
        category=segment.category,
        frame=frame,
        tracking_id=segment.tracking_id,
        tracking_uid=segment.tracking_uid,
        measurements=measurements(segment.mask, frame, case.images),
        segment=segment,
    )

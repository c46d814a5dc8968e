"""Segmentation: a logit for each pixel and segment. Without targets, the segments are measured."""

from collections.abc import Iterator
from dataclasses import replace

from pydicom.sr.codedict import codes

from dicom_node.domain.findings import Estimate, Measurement, SegmentMask
from dicom_node.domain.outputs import Segment, Segmentation
from dicom_node.domain.prediction import Prediction
from workers.findings import Answers, Case, context, regions_of
from workers.measure import MILLILITRE, largest_parts, longest_slice, measurements
from workers.notes import too_small
from workers.outputs.said import Said


def read(prediction: Prediction, plan: Segmentation, said: Said) -> Prediction:
    """Probabilities on the source's grid; 0 beyond the model's."""
    masks = said.model.mask_probabilities(said.planes(plan.kind))
    return replace(prediction, masks=said.prepared.on_source(masks))


def answer(case: Case, plan: Segmentation) -> Answers:
    """Each segment: measured, or missing. Where targets speak, they do."""
    if case.manifest.classification is not None:
        return Answers()
    segments = tuple(context(case, set()))
    drawn = {segment.channel: segment for segment in segments}
    estimates = [
        _measured(case, segment, drawn[channel])
        if channel in drawn
        else _missing(case, segment, channel)
        for channel, segment in enumerate(plan.segments)
    ]
    notes = (note for segment in plan.segments for note in _noise(case, segment))
    return Answers(segments=segments, estimates=tuple(estimates), notes=tuple(notes))


def _noise(case: Case, segment: Segment) -> Iterator[str]:
    if segment.min_volume_ml:
        yield from too_small(segment.label, len(regions_of(case, segment.label).small))


def _missing(case: Case, segment: Segment, channel: int) -> Estimate:
    """In the slice that came nearest to an outline."""
    nothing = (Measurement(codes.SCT.Volume, 0.0, MILLILITRE),)
    return Estimate(
        segment.label,
        segment.type.code,
        segment.category.code,
        int(case.prediction.masks[..., channel].max(axis=(1, 2)).argmax()),
        *case.tracking(segment.label),
        measurements=() if case.images.affine is None else nothing,
        outlined=segment,
    )


def _measured(case: Case, outlined: Segment, segment: SegmentMask) -> Estimate:
    """Diameters are those of one connected part, however many an organ has."""
    parts = largest_parts(segment.mask)
    frame = longest_slice(parts, case.images)
    return Estimate(
        label=segment.label,
        code=segment.type,
        category=segment.category,
        frame=frame,
        tracking_id=segment.tracking_id,
        tracking_uid=segment.tracking_uid,
        measurements=measurements(segment.mask, frame, case.images, outline=parts[frame]),
        outlined=outlined,
        segment=segment,
    )

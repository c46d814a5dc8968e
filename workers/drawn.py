"""What a model drew of an answer on its key frame: a segment, or a box."""

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Answer, Estimate
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Segment, Target
from dicom_node.domain.prediction import Box, Prediction
from reports.side import asked_of


def drawn(answer: Answer, manifest: ModelManifest, prediction: Prediction) -> FloatArray | None:
    """(rows, columns) of the source: 1 where it was drawn; none of what is not drawn."""
    if answer.box is not None:
        return _filled(answer.box, prediction.masks.shape[1:3])
    if isinstance(answer, Estimate) and answer.segment is not None:
        return np.asarray(answer.segment.mask[answer.frame], np.float32)
    segment, likely = segment_of(answer, manifest), likelihood(answer, manifest, prediction)
    if segment is None or likely is None:
        return None
    return np.asarray(likely >= segment.threshold, np.float32)


def likelihood(
    answer: Answer, manifest: ModelManifest, prediction: Prediction
) -> FloatArray | None:
    """(rows, columns) of the source, 0 to 1: the probability that an outline was cut from."""
    plan, segment = manifest.segmentation, segment_of(answer, manifest)
    if plan is None or segment is None:
        return None
    return np.asarray(prediction.masks[answer.frame, ..., plan.segments.index(segment)])


def operating_point(answer: Answer) -> float | None:
    """The probability at and above which it is said; none of a number."""
    asked = asked_of(answer)
    return asked.threshold if isinstance(asked, Target | Segment) else None


def segment_of(answer: Answer, manifest: ModelManifest) -> Segment | None:
    """The segment that says where an answer is; none where the model outlines no such thing."""
    asked, plan = asked_of(answer), manifest.segmentation
    label = asked.located_by if isinstance(asked, Target) else None
    label = asked.label if isinstance(asked, Segment) else label
    segments = plan.segments if plan is not None else ()
    return next((segment for segment in segments if segment.label == label), None)


def _filled(box: Box, size: tuple[int, ...]) -> FloatArray:
    """(rows, columns): 1 for the pixels whose centres lie in the box."""
    corners = zip(np.indices(size), box.first, box.last, strict=True)
    inside = [(at >= first) & (at <= last) for at, first, last in corners]
    return np.asarray(np.all(inside, axis=0), np.float32)

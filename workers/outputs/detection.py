"""Detection: boxes with a logit for each target; those that overlap are one finding."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Finding, Presence
from dicom_node.domain.outputs import Detection, Target
from dicom_node.domain.prediction import Box, Boxes, Prediction
from workers.findings import Answers, Case
from workers.outputs.said import Said
from workers.tracking import named, place_of


def read(prediction: Prediction, plan: Detection, said: Said) -> Prediction:
    """All boxes on the source's grid. The probability of a frame is that of its likeliest box."""
    logits, edges = said.heads[plan.kind], said.heads["boxes"]
    count, boxes = logits.shape[:2]
    likely = said.model.probabilities(logits)
    places = tuple(
        _on_source(edges[frame, box], frame, said) for frame in range(count) for box in range(boxes)
    )
    flat = (count * boxes, len(plan.targets))
    return replace(
        prediction,
        logits=logits.max(axis=1),
        probabilities=likely.max(axis=1),
        boxes=Boxes(places, logits.reshape(flat), likely.reshape(flat)),
    )


def answer(case: Case, plan: Detection) -> Answers:
    """Of each target a finding for each place; or that it is absent."""
    findings: list[Finding] = []
    for column, target in enumerate(plan.targets):
        findings += _found(case, plan, column) or [_absent(case, target, column)]
    return Answers(findings=tuple(named(findings, case.earlier, case.tracking_uid)))


def _found(case: Case, plan: Detection, column: int) -> list[Finding]:
    """The likeliest first."""
    target, boxes = plan.targets[column], case.prediction.boxes
    if boxes is None:
        return []
    likely = boxes.probabilities[:, column]
    kept = sorted(np.flatnonzero(likely >= target.threshold), key=lambda n: -likely[n])
    groups = _groups([boxes.places[n] for n in kept], plan.overlap)
    members = [
        [n for n, of in zip(kept, groups, strict=True) if of == group]
        for group in dict.fromkeys(groups)
    ]
    return [
        _finding(case, target, [boxes.places[n] for n in group], float(likely[group[0]]))
        for group in members
    ]


def _finding(case: Case, target: Target, boxes: Sequence[Box], probability: float) -> Finding:
    """Of boxes that overlap the first, which is the likeliest; it lies where all of them do."""
    box, tracking = boxes[0], case.tracking(target.label)
    low = np.min([(each.frame - 0.5, *each.first) for each in boxes], axis=0)
    high = np.max([(each.frame + 0.5, *each.last) for each in boxes], axis=0)
    place = place_of(case.images, box.center, low, high)
    return Finding(
        target, Presence.PRESENT, probability, box.frame, *tracking, box=box, place=place
    )


def _absent(case: Case, target: Target, column: int) -> Finding:
    likely = case.prediction.probabilities[:, column]
    frame = int(likely.argmax())
    tracking = case.tracking(target.label)
    return Finding(target, Presence.ABSENT, float(likely[frame]), frame, *tracking)


def _groups(boxes: Sequence[Box], overlap: float) -> NDArray[np.intp]:
    """A number for each box: the same for those that overlap, in one frame or in neighbours."""
    if not boxes:
        return np.zeros(0, np.intp)
    frames = np.array([box.frame for box in boxes])
    near = np.abs(frames[:, None] - frames) <= 1
    _, groups = connected_components(near & (_shared(boxes) > overlap), directed=False)
    return np.asarray(groups, np.intp)


def _shared(boxes: Sequence[Box]) -> FloatArray:
    """Intersection over union of each two."""
    first = np.array([box.first for box in boxes])
    last = np.array([box.last for box in boxes])
    sides = np.minimum(last[:, None], last) - np.maximum(first[:, None], first)
    common = np.maximum(sides, 0).prod(axis=-1)
    area = (last - first).prod(axis=-1)
    union = area[:, None] + area - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _on_source(edges: FloatArray, frame: int, said: Said) -> Box:
    """An edge of 0 is the outer edge of the first pixel, whose centre is index 0."""
    grid = said.prepared.grid
    corners = np.array([grid.to_outer((row - 0.5, column - 0.5)) for row, column in
                        (edges[:2], edges[2:])])  # fmt: skip
    corners = np.clip(corners, -0.5, np.array(grid.outer) - 0.5)
    first, last = corners.min(axis=0), corners.max(axis=0)
    return Box(frame, (float(first[0]), float(first[1])), (float(last[0]), float(last[1])))

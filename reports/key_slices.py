"""The slices that matter: one for each finding that is there, else one for each that is not."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.concepts import DERIVED_IMAGE
from dicom_node.domain.explanation import Explanation
from dicom_node.domain.findings import Answer, Finding, Presence, SegmentMask
from dicom_node.domain.prediction import Box


@dataclass(frozen=True)
class KeySlice:
    """One slice to be shown, with all answers about one target that have it as their key slice."""

    number: int
    """From 1, in the order of the report."""
    frame: int
    findings: tuple[Answer, ...]
    """At least one; the first is the one with the highest probability."""

    @property
    def explained(self) -> Answer:
        """The first finding whose map names a place, else may be shown, else the first."""
        shown = [f for f in self.findings if f.explanation and not f.explanation.withheld]
        placed = [f for f in shown if f.explanation and f.explanation.evidence]
        return (*placed, *shown, self.findings[0])[0]

    @property
    def explanation(self) -> Explanation | None:
        """Of the finding that is explained."""
        return self.explained.explanation

    @property
    def heat(self) -> FloatArray | None:
        """(rows, columns): the highest of the maps that may be shown; none where none may be.

        Of a detector each box has a map of its own.
        """
        shown = [f.explanation for f in self.findings if f.explanation and f.explanation.evidence]
        planes = [explanation.saliency.values[self.frame] for explanation in shown]
        return np.max(planes, axis=0) if planes else None

    @property
    def derived(self) -> Answer | None:
        """What says that the model made a picture of this slice."""
        return next((f for f in self.findings if f.category == DERIVED_IMAGE), None)

    @property
    def regions(self) -> tuple[BoolArray, ...]:
        """(rows, columns) each: the places that the maps name, if they lie in this slice."""
        regions = [f.explanation.evidence for f in self.findings if f.explanation is not None]
        return tuple(r.outline for r in regions if r is not None and r.frame == self.frame)


def key_slices(analysis: Analysis) -> tuple[KeySlice, ...]:
    """Choose the slices: of what is there, or of all targets if nothing is.

    The slices with the highest probabilities come first, those of estimates last.
    """
    shown = [answer for answer in analysis.answers if not is_absent(answer)]
    groups: dict[tuple[str, int], list[Answer]] = {}
    for answer in sorted(shown or analysis.answers, key=_urgency):
        groups.setdefault((answer.label, answer.frame), []).append(answer)
    return tuple(
        KeySlice(number, frame, tuple(group))
        for number, ((_, frame), group) in enumerate(groups.items(), start=1)
    )


def is_absent(answer: Answer) -> bool:
    """Whether nothing was found: there is no place to be shown."""
    if isinstance(answer, Finding):
        return answer.presence is Presence.ABSENT
    return answer.missing


def _urgency(answer: Answer) -> float:
    return -answer.probability if isinstance(answer, Finding) else 0.0


def segments_in(analysis: Analysis, frame: int) -> tuple[SegmentMask, ...]:
    """The segments that this frame cuts."""
    return tuple(s for s in analysis.segments if frame in s.frames)


def number_of(analysis: Analysis, answer: Answer) -> int | None:
    """What pictures and table call its place: segments are numbered first, then boxes."""
    if answer.segment is not None:
        return answer.segment.number
    return _box_numbers(analysis).get(answer.tracking_uid)


def code_of(analysis: Analysis, segment: SegmentMask) -> Code:
    """What the table calls what was found there; what no answer is about by its type."""
    about = (a.code for a in analysis.answers if number_of(analysis, a) == segment.number)
    return next(about, segment.type)


def boxes_in(analysis: Analysis, key: KeySlice) -> list[tuple[int, Finding, Box]]:
    """The boxes that a detector drew in a key slice, with their numbers."""
    return _numbered(analysis, key.findings)


def boxes(analysis: Analysis) -> list[tuple[int, Finding, Box]]:
    """All boxes that a detector drew, with their numbers."""
    return _numbered(analysis, analysis.findings)


def _numbered(analysis: Analysis, answers: Iterable[Answer]) -> list[tuple[int, Finding, Box]]:
    numbers = _box_numbers(analysis)
    found = [f for f in answers if isinstance(f, Finding)]
    return [(numbers[f.tracking_uid], f, f.box) for f in found if f.box is not None]


def _box_numbers(analysis: Analysis) -> dict[str, int]:
    """By tracking UID."""
    boxed = [answer.tracking_uid for answer in analysis.answers if answer.box is not None]
    return {uid: number for number, uid in enumerate(boxed, len(analysis.segments) + 1)}

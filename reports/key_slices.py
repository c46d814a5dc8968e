"""The slices that matter: one for each finding that is there, else one for each that is not."""

from dataclasses import dataclass

import numpy as np

from dicom_node.domain.analysis import (
    Analysis,
    Answer,
    BoolArray,
    Explanation,
    Finding,
    Presence,
    SegmentMask,
)


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
        """The first finding whose map may be shown, else the first."""
        shown = (f for f in self.findings if f.explanation and not f.explanation.withheld)
        return next(shown, self.findings[0])

    @property
    def explanation(self) -> Explanation | None:
        """Of the finding that is explained."""
        return self.explained.explanation

    @property
    def region(self) -> BoolArray | None:
        """(rows, columns): the place that the map names, if it lies in this slice."""
        regions = [f.explanation.evidence for f in self.findings if f.explanation is not None]
        outlines = [r.outline for r in regions if r is not None and r.frame == self.frame]
        return np.any(outlines, axis=0) if outlines else None


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
    return isinstance(answer, Finding) and answer.presence is Presence.ABSENT


def _urgency(answer: Answer) -> float:
    return -answer.probability if isinstance(answer, Finding) else 0.0


def segments_in(analysis: Analysis, frame: int) -> tuple[SegmentMask, ...]:
    """The segments that this frame cuts."""
    return tuple(s for s in analysis.segments if frame in s.frames)

"""Sentences beside an answer: what it hangs on, and how sure it is."""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from dicom_node.domain.findings import Answer, Estimate, Finding, Presence
from dicom_node.domain.wording import percent
from explain.calibration import open_answers
from explain.evidence import Evidence, Removed, Seen
from explain.region import names_all
from explain.thorough import NOISE
from reports.wording import written
from workers.asked import Asked

COPIES = 4
"""Of the key slice, changed a little: the spread of their probabilities is a measure of doubt."""
COPY_SHIFT = 3
OUTLINED = "what the model outlined"
NAMED, STRONG = "the place that the map names", "all places that the map shows strongly"
"""What ``evidence.weigh`` takes out at once: where the map names the only one, or one of them."""
FINDING = ("the probability", "the finding would not be reported")
OUTLINE = ("the certainty of the outline", "it would not be outlined")
"""What falls, and what comes of it."""


def counterfactual(answer: Answer, seen: Seen, evidence: Evidence, asked: Asked) -> str:
    """Which part of the key image, taken out, turns the finding off, or changes the number."""
    outline, region = evidence.without_outline, evidence.without_region
    alone = asked.model.manifest.input.unit != "slice"
    shown = _shown(answer, asked)
    if isinstance(answer, Estimate) and answer.segment is not None:
        return _without(shown, region, seen, None, alone=alone, of=OUTLINE) if region else ""
    if isinstance(answer, Estimate):
        return _number_without(shown, answer, seen, region, alone=alone) if region else ""
    point = answer.target.threshold
    if outline is not None and (_off(outline, seen) or region is None or not _off(region, seen)):
        return _without(OUTLINED, outline, seen, point, alone=alone)
    return _without(shown, region, seen, point, alone=alone) if region else ""


def left_open(finding: Finding) -> tuple[str, ...]:
    """The conformal set of a target."""
    plan = finding.target.conformal
    if plan is None:
        return ()
    words = {
        (Presence.PRESENT,): "present only",
        (Presence.ABSENT,): "absent only",
        (Presence.PRESENT, Presence.ABSENT): "present or absent",
        (): "neither: such a probability is rare",
    }
    said = words[open_answers(plan, finding.probability)]
    return (f"At a coverage of {percent(plan.coverage)}, the probability leaves open: {said}.",)


def spread_of_copies(finding: Finding, seen: Seen, asked: Asked) -> str:
    """Over copies that are moved or noisy, the same in every run; a box is not moved."""
    steps = (COPY_SHIFT, -COPY_SHIFT) if seen.moves else ()
    moved = [ndimage.shift(seen.image, (step, -step, 0), order=0, mode="nearest") for step in steps]
    random = np.random.default_rng(0)
    grains = random.standard_normal((COPIES - len(moved), *seen.image.shape), np.float32)
    noisy = seen.image + NOISE * np.ptp(seen.image) * grains
    chances = expit(asked.ask(finding, np.stack([*moved, *noisy])))
    point = finding.target.threshold
    low, high = (percent(float(chance), point) for chance in (chances.min(), chances.max()))
    copies = "Moved and noisy copies" if seen.moves else "Noisy copies"
    return f"{copies} of the key slice get probabilities from {low} to {high}."


def _without(
    what: str,
    left: Removed,
    seen: Seen,
    point: float | None,
    *,
    alone: bool,
    of: tuple[str, str] = FINDING,
) -> str:
    """``alone``: the answer is of several images, and one of them was changed.

    ``point``: the probability from which on it would be reported, if there is one.
    """
    before, after = (percent(float(expit(logit)), point) for logit in (seen.logit, left.logit))
    said, off = of
    here = f"Without {what}, {said} on this slice"
    rest = "something else in the image"
    if alone:
        here = f"Without {what} on this image alone, {said}"
        rest = "the rest of the images"
    if _off(left, seen):
        return f"{here} falls from {before} to {after}: {off}."
    return f"{here} is {after}, and was {before}: {rest} keeps it up."


def _shown(answer: Answer, asked: Asked) -> str:
    """What was taken out of the key image, of what the map shows."""
    explanation, level = answer.explanation, asked.model.manifest.explanation.region_level
    if explanation is None or explanation.region is None:
        return STRONG
    one = names_all(explanation.region, explanation.saliency, level=level)
    return NAMED if one else STRONG


def _number_without(what: str, answer: Estimate, seen: Seen, left: Removed, *, alone: bool) -> str:
    unit = written(answer.measurements[0].unit)
    before, after = (f"{number:.4g} {unit}".strip() for number in (seen.logit, left.logit))
    if alone:
        return f"Without {what} on this image alone, the number is {after}, and was {before}."
    return f"Without {what}, the number on this slice is {after}, and was {before}."


def _off(left: Removed, seen: Seen) -> bool:
    return left.logit < seen.operating

"""How far the map of each finding can be believed, and how sure the answer is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydicom.sr.codedict import codes
from scipy import ndimage
from scipy.special import expit

from dicom_node.domain import concepts
from dicom_node.domain.analysis import (
    ExplanationQuality,
    Finding,
    Presence,
    QualityMeasure,
    Trust,
)
from dicom_node.domain.trust import VerdictPlan
from explain.calibration import open_answers
from explain.evidence import Evidence, Removed, Seen, weigh
from explain.thorough import NOISE, Thorough, measured
from explain.verdict import MEANINGS, judge
from workers.asked import Asked

COPIES = 4
"""Of the key slice, changed a little: the spread of their probabilities is a measure of doubt."""
COPY_SHIFT = 3
FAILED = (
    "In its test, the maps of this model did not beat a map that always names the same place: "
    "none of them is evidence."
)
NOT_FITTED = "This model came without a test of its maps on cases with known places."
NOTHING_THERE = "The finding is absent: there is no place to check."
EMPTY = "The model names no place for this finding: look at the whole image."
OUTSIDE = (
    "These images are outside of what this model was trained on: do not rely on what it says of "
    "them."
)


def judged(findings: Sequence[Finding], asked: Asked) -> tuple[Finding, ...]:
    """Each finding with the verdict on its map, within the manifest's budget of passes.

    Of models that answer slice by slice; the maps of others stay as they are, not measured.
    """
    if asked.model.manifest.input.unit != "slice" or asked.model.manifest.classification is None:
        return tuple(findings)
    budget = asked.model.manifest.explanation.measure_passes
    done: dict[int, Finding] = {}
    for place in sorted(range(len(findings)), key=lambda n: -findings[n].probability):
        done[place], budget = _judged(findings[place], asked, budget)
    return tuple(done[place] for place in range(len(findings)))


def unfamiliar(asked: Asked) -> list[str]:
    """A note where most of the images are of another kind than those that were learnt from."""
    scores = asked.unfamiliar
    return [OUTSIDE] if scores is not None and np.median(scores) > 1 else []


def _judged(finding: Finding, asked: Asked, budget: int) -> tuple[Finding, int]:
    """The finding, and what is left of the budget."""
    explanation = finding.explanation
    if explanation is None:
        return finding, budget
    if finding.presence is not Presence.PRESENT:
        quality = ExplanationQuality(Trust.NOT_MEASURED, (NOTHING_THERE,))
        explanation = replace(explanation, quality=quality)
        return replace(finding, explanation=explanation, certainty=_open(finding)), budget
    seen = asked.seen(finding, explanation.saliency)
    evidence = weigh(
        seen,
        asked.model.manifest.explanation.region_level,
        lambda images: asked.again(finding, images),
    )
    copies = COPIES if budget >= COPIES else 0
    thorough = measured(
        seen,
        lambda images: asked.again(finding, images),
        lambda images: asked.ask(finding, images),
        budget - copies,
    )
    sure = (*_open(finding), *(_copies(finding, seen, asked) if copies else ()))
    explained = replace(
        explanation,
        quality=quality_of(asked, seen, evidence, thorough),
        counterfactual=_without(seen, evidence),
    )
    left = budget - copies - thorough.passes
    return replace(finding, explanation=explained, certainty=sure), left


def quality_of(
    asked: Asked, seen: Seen, evidence: Evidence, thorough: Thorough
) -> ExplanationQuality:
    """The verdict, why, and all numbers."""
    plan = asked.model.manifest.explanation
    measures = (*_numbers(evidence.numbers), *thorough.measures)
    left_out = _left_out(thorough)
    if plan.check is not None and not plan.check.passed:
        return ExplanationQuality(Trust.NOT_RELIABLE, (FAILED,), measures)
    if not seen.values.any():
        return ExplanationQuality(Trust.CAUTION, (EMPTY,), measures)
    if plan.verdict is None or not plan.verdict.names <= evidence.numbers.keys():
        return ExplanationQuality(Trust.NOT_MEASURED, (NOT_FITTED, *left_out), measures)
    return _verdict(plan.verdict, evidence, measures, left_out)


def _verdict(
    plan: VerdictPlan,
    evidence: Evidence,
    measures: Sequence[QualityMeasure],
    left_out: Sequence[str],
) -> ExplanationQuality:
    verdict = judge(plan, evidence.numbers)
    chance = QualityMeasure(
        concepts.MAP_HITS,
        round(100 * verdict.chance, 1),
        codes.UCUM.Percent,
        "chance that the map names the right place, as maps of test cases with such numbers did",
    )
    return ExplanationQuality(verdict.trust, (*verdict.reasons, *left_out), (chance, *measures))


def _numbers(numbers: Mapping[str, float]) -> list[QualityMeasure]:
    """In percent, but for the distance from the training images."""
    return [
        QualityMeasure(meaning.name, round(numbers[name], 2), codes.UCUM.NoUnits, meaning.meaning)
        if name == "outside"
        else QualityMeasure(
            meaning.name, round(100 * numbers[name], 1) + 0.0, codes.UCUM.Percent, meaning.meaning
        )
        for name, meaning in MEANINGS.items()
        if name in numbers
    ]


def _left_out(thorough: Thorough) -> tuple[str, ...]:
    names = " / ".join(name.meaning for name in thorough.left_out)
    return (f"Left out, for the time given to checks was spent: {names}.",) if names else ()


def _without(seen: Seen, evidence: Evidence) -> str:
    """Which part of the image, taken out, turns the finding off."""
    before = percent(float(expit(seen.logit)))
    outline, region = evidence.without_outline, evidence.without_region
    if outline is not None and (_off(outline, seen) or region is None or not _off(region, seen)):
        return _sentence("what the model outlined", before, outline, seen)
    if region is not None:
        return _sentence("the place that the map names", before, region, seen)
    return ""


def _sentence(what: str, before: str, left: Removed, seen: Seen) -> str:
    after = percent(float(expit(left.logit)))
    if _off(left, seen):
        return (
            f"Without {what}, the probability on this slice falls from {before} to {after}: the "
            "finding would not be reported."
        )
    return (
        f"Without {what}, the probability on this slice is {after}, and was {before}: something "
        "else in the image keeps it up."
    )


def _off(left: Removed, seen: Seen) -> bool:
    return left.logit < seen.operating


def _open(finding: Finding) -> tuple[str, ...]:
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


def _copies(finding: Finding, seen: Seen, asked: Asked) -> tuple[str, ...]:
    """The spread over copies that are moved or noisy; the same copies in every run."""
    random = np.random.default_rng(0)
    grains = random.standard_normal((2, *seen.image.shape), np.float32)
    moved = [
        ndimage.shift(seen.image, (step, -step, 0), order=0, mode="nearest")
        for step in (COPY_SHIFT, -COPY_SHIFT)
    ]
    noisy = seen.image + NOISE * np.ptp(seen.image) * grains
    chances = expit(asked.ask(finding, np.concatenate([np.stack(moved), noisy])))
    low, high = percent(float(chances.min())), percent(float(chances.max()))
    return (f"Moved and noisy copies of the key slice get probabilities from {low} to {high}.",)


def percent(probability: float) -> str:
    """In whole percent, never 0 or 100: no model is certain."""
    if probability > 0.99:
        return ">99%"
    return "<1%" if probability < 0.01 else f"{probability:.0%}"

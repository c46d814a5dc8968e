"""How far the map of each answer can be believed, and how sure the answer is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydicom.sr.codedict import codes

from dicom_node.domain import concepts
from dicom_node.domain.explanation import (
    Explanation,
    ExplanationQuality,
    QualityMeasure,
    Region,
    SaliencyMap,
    Trust,
)
from dicom_node.domain.findings import Answer, Estimate, Finding, Presence
from dicom_node.domain.trust import VerdictPlan
from explain.evidence import Evidence, Seen, placeless, weigh
from explain.thorough import Thorough, measured
from explain.verdict import MEANINGS, OF_NUMBERS, judge
from workers.asked import Asked
from workers.doubt import COPIES, counterfactual, left_open, spread_of_copies
from workers.findings import Explained

ANSWERS, TIMES = 2, 2
"""Costly numbers of a study take the budget of so many answers, or its prediction so many times."""
FAILED = (
    "In its test, the maps of this model did not beat a map that always names the same place: "
    "none of them is evidence."
)
NOT_FITTED = "This model came without a test of its maps on cases with known places."
NO_MEASURE = (
    "The maps of this model passed their test as a whole; it gave no measure by which to judge a "
    "single one."
)
NOTHING_THERE = "The finding is absent: there is no place to check."
EMPTY = "The map holds no evidence: look at the whole image."
FAINT = "The map's evidence is too faint to name a place: look at the whole image."
POINTS = (
    "1: the centre of the place that the map names lies in what the model outlined; 0: it does not"
)
INCOMPLETE = (
    "part of the score's difference from the blurred image that the map does not add up to; near "
    "0 is good"
)


def judged(answers: Sequence[Explained], asked: Asked) -> tuple[Explained, ...]:
    """Each answer with the verdict on its map, the likeliest first, within a budget of passes.

    An answer without a map, as those that a model draws, stays as it is.
    """
    one = asked.model.manifest.explanation.measure_passes
    together = max(ANSWERS * one, TIMES * asked.passes) if one else 0
    done: dict[int, Explained] = {}
    for place in sorted(range(len(answers)), key=lambda n: -_likely(answers[n])):
        budget = min(one, together)
        done[place], left = _judged(answers[place], asked, budget)
        together -= budget - left
    return tuple(done[place] for place in range(len(answers)))


def _likely(answer: Answer) -> float:
    return answer.probability if isinstance(answer, Finding) else 0.0


def _is_number(answer: Answer) -> bool:
    return isinstance(answer, Estimate) and answer.quantity is not None


def unfamiliar(asked: Asked) -> bool:
    """Whether most of the images are of another kind than those that were learnt from."""
    scores = asked.unfamiliar
    return scores is not None and bool(np.median(scores) > 1)


def _judged(answer: Explained, asked: Asked, budget: int) -> tuple[Explained, int]:
    """The answer, and what is left of the budget."""
    explanation = answer.explanation
    if explanation is None:
        return answer, budget
    if isinstance(answer, Finding) and answer.presence is not Presence.PRESENT:
        explanation = replace(explanation, quality=_of_nothing(asked))
        return replace(answer, explanation=explanation, certainty=left_open(answer)), budget
    seen = asked.seen(answer, explanation.saliency)
    sure, left = _sure(answer, seen, asked, budget)
    explained, left = _measured(answer, explanation, seen, asked, left)
    if isinstance(answer, Finding):
        return replace(answer, explanation=explained, certainty=sure), left
    return replace(answer, explanation=explained), left


def _sure(answer: Answer, seen: Seen, asked: Asked, budget: int) -> tuple[tuple[str, ...], int]:
    """How sure a finding is, and what is left of the budget; a number has no probability."""
    if not isinstance(answer, Finding):
        return (), budget
    cost = COPIES * asked.held(answer).passes
    if budget < cost:
        return left_open(answer), budget
    return (*left_open(answer), spread_of_copies(answer, seen, asked)), budget - cost


def _measured(
    answer: Answer, explanation: Explanation, seen: Seen, asked: Asked, budget: int
) -> tuple[Explanation, int]:
    """The explanation with its verdict and numbers, and what is left of the budget."""
    if explanation.region is None:
        return _placeless(answer, explanation, seen, asked), budget
    level = asked.model.manifest.explanation.region_level
    evidence = weigh(seen, level, lambda images: asked.again(answer, images))
    thorough = measured(
        seen,
        evidence.moved,
        lambda images: asked.again(answer, images),
        lambda images: asked.ask(answer, images),
        budget,
        asked.held(answer).passes,
    )
    measures = (
        *_numbers(evidence.numbers, OF_NUMBERS if _is_number(answer) else {}),
        *pointing(answer, explanation.region),
        *thorough.measures,
        *_completeness(explanation.saliency),
    )
    quality = _quality(asked, evidence, measures)
    withheld = quality.trust is Trust.NOT_RELIABLE  # nothing is said of the places that it names
    told = replace(evidence, without_region=None) if withheld else evidence
    explained = replace(
        explanation,
        quality=replace(quality, left_out=_left_out(thorough)),
        counterfactual=counterfactual(answer, seen, told, asked),
    )
    return explained, budget - thorough.passes


def _of_nothing(asked: Asked) -> ExplanationQuality:
    """Of the map of what is absent."""
    if _failed(asked):
        return ExplanationQuality(Trust.NOT_RELIABLE, (FAILED,))
    return ExplanationQuality(Trust.NOT_MEASURED, (NOTHING_THERE,))


def _placeless(answer: Answer, explanation: Explanation, seen: Seen, asked: Asked) -> Explanation:
    """Of a map that names no place: a verdict was fitted on maps that name one."""
    evidence = placeless(seen, lambda images: asked.again(answer, images))
    failed = _failed(asked)
    why = FAILED if failed else FAINT if seen.values.any() else EMPTY
    measures = (*_numbers(evidence.numbers, {}), *_completeness(explanation.saliency))
    trust = Trust.NOT_RELIABLE if failed else Trust.CAUTION
    return replace(
        explanation,
        quality=ExplanationQuality(trust, (why,), measures),
        counterfactual=counterfactual(answer, seen, evidence, asked),
    )


def _failed(asked: Asked) -> bool:
    """Whether no map of the model may be evidence."""
    check = asked.model.manifest.explanation.check
    return check is not None and not check.passed


def _quality(
    asked: Asked, evidence: Evidence, measures: Sequence[QualityMeasure]
) -> ExplanationQuality:
    """The verdict, why, and all numbers."""
    plan = asked.model.manifest.explanation
    if _failed(asked):
        return ExplanationQuality(Trust.NOT_RELIABLE, (FAILED,), tuple(measures))
    if plan.verdict is None or not plan.verdict.names <= evidence.numbers.keys():
        why = NOT_FITTED if plan.check is None else NO_MEASURE
        return ExplanationQuality(Trust.NOT_MEASURED, (why,), tuple(measures))
    return _verdict(plan.verdict, evidence, measures)


def _verdict(
    plan: VerdictPlan, evidence: Evidence, measures: Sequence[QualityMeasure]
) -> ExplanationQuality:
    verdict = judge(plan, evidence.numbers)
    chance = QualityMeasure(
        concepts.MAP_HITS,
        round(100 * verdict.chance, 1),
        codes.UCUM.Percent,
        "chance that the map names the right place, as maps of test cases with such numbers did",
    )
    return ExplanationQuality(verdict.trust, verdict.reasons, (chance, *measures))


def _numbers(numbers: Mapping[str, float], meanings: Mapping[str, str]) -> list[QualityMeasure]:
    """In percent, but for the distance from the training images; ``meanings`` of its own."""
    return [
        QualityMeasure(meaning.name, round(numbers[name], 2), codes.UCUM.NoUnits, meaning.meaning)
        if name == "outside"
        else QualityMeasure(
            meaning.name,
            round(100 * numbers[name], 1) + 0.0,
            codes.UCUM.Percent,
            meanings.get(name, meaning.meaning),
        )
        for name, meaning in MEANINGS.items()
        if name in numbers
    ]


def pointing(answer: Answer, region: Region) -> list[QualityMeasure]:
    """Of answers that the model outlined, in a segment or a box."""
    if answer.box is not None:
        inside = answer.box.holds(region.centroid)
    elif answer.segment is not None:
        inside = bool(answer.segment.mask[tuple(round(place) for place in region.centroid)])
    else:
        return []
    return [QualityMeasure(concepts.POINTING, float(inside), codes.UCUM.NoUnits, POINTS)]


def _completeness(saliency: SaliencyMap) -> list[QualityMeasure]:
    """Of integrated gradients alone."""
    if saliency.incomplete is None:
        return []
    part, unit = round(100 * saliency.incomplete, 1), codes.UCUM.Percent
    return [QualityMeasure(concepts.COMPLETENESS, part, unit, INCOMPLETE)]


def _left_out(thorough: Thorough) -> str:
    names = " / ".join(name.meaning for name in thorough.left_out)
    return f"Left out, for the time given to checks was spent: {names}." if names else ""

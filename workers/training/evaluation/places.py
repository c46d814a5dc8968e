"""Whether the map of a report's answer lies where a mask is, beside two baselines."""

from collections.abc import Collection, Mapping

import numpy as np

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Answer, Finding, Presence
from explain.measures import evidence_within, overlap
from workers.analysis import saliency_of
from workers.asked import Asked
from workers.findings import Answers, place_named
from workers.training.evaluation.figures import Cases
from workers.training.evaluation.seen import Place
from workers.training.measures import Figure
from workers.training.trying import named


def place(
    asked: Asked,
    answers: Answers,
    maps: Mapping[str, SaliencyMap],
    mask: BoolArray,
    labels: Collection[str],
) -> Place | None:
    """Of the likeliest finding, or of a number with one of these labels; on its key slice.

    None where the model's method explains neither.
    """
    found = _spoken_of(asked, answers, labels)
    if found is None:
        return None
    frame, there = found.frame, mask[found.frame]
    reported = not isinstance(found, Finding) or found.presence is Presence.PRESENT
    saliency = saliency_of(found, maps, asked)
    values = np.maximum(saliency.values[frame], 0)
    level = asked.model.manifest.explanation.region_level
    region = place_named(found, saliency, asked.prepared.source, level) if reported else None
    rows, columns = there.shape
    average = asked.seen(found, saliency).expected
    return Place(
        hit=region is not None and bool(mask[tuple(round(at) for at in region.centroid)]),
        inside=evidence_within(values, there) if reported else None,
        overlap=overlap(values, there) if reported else None,
        centre=bool(there[rows // 2, columns // 2]),
        average=None if average is None else _peak_in(average, asked, there),
    )


def figures(cases: Cases) -> Mapping[str, Figure]:
    """Shares of the cases with a mask, and means over those with a map."""
    places = [each.place for each in cases.seen]
    shares = {
        "Heat map's place in the mask": [None if p is None else p.hit for p in places],
        "Image centre in the mask": [None if p is None else p.centre for p in places],
        "Average mask's peak in the mask": [None if p is None else p.average for p in places],
    }
    means = {
        "Heat map's evidence inside the mask": [None if p is None else p.inside for p in places],
        "Overlap (IoU) of mask and as many hottest pixels": [
            None if p is None else p.overlap for p in places
        ],
    }
    return {**cases.shares(shares), **cases.means(means)}


def _spoken_of(asked: Asked, answers: Answers, labels: Collection[str]) -> Answer | None:
    numbers = [each for each in answers.estimates if named([each.label], labels).all()]
    ranked = sorted(
        answers.findings, key=lambda f: (f.presence is not Presence.PRESENT, -f.probability)
    )
    every: list[Answer] = [*ranked, *numbers]
    return next(filter(asked.explains, every), None)


def _peak_in(average: np.ndarray, asked: Asked, mask: BoolArray) -> bool:
    on_source = asked.prepared.grid.project(average[None])[0]
    return bool(mask.flat[on_source.argmax()])

"""How far maps of ``brain-mr-tumour`` can be believed: fitted and measured on the choosing fold.

Some of its maps miss by themselves, so that no misled twins are needed. The verdict is fitted on
every other group of slices, and measured on the rest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from dicom_node.domain.analysis import SourceImages, Trust
from dicom_node.domain.trust import ExplanationCheck, VerdictPlan
from workers.model import Model
from workers.preprocess import prepare
from workers.progress import Progress
from workers.sanity import cascade
from workers.training.brain.data import CHENG_MM
from workers.training.dataset import Example
from workers.training.evaluate import PROVENANCE
from workers.training.measures import Figure, proportion
from workers.training.reading import read_images, read_mask
from workers.training.trying import Judged, Tried, figures, fitted, judged, tried

RANDOMISED = 12
"""Slices whose maps are compared with those of a network with random weights."""


@dataclass(frozen=True)
class Trusted:
    """What goes into the manifest, and onto the card."""

    verdict: VerdictPlan | None
    """None where all maps hit, or none does."""
    check: ExplanationCheck | None
    figures: Mapping[str, Figure]


def trust(
    model: Model, network: keras.Model, examples: Sequence[Example], progress: Progress
) -> Trusted:
    """``model`` has its reference, and ``network`` is its own."""
    groups = list(dict.fromkeys(example.patient for example in examples))
    fit_on = frozenset(groups[::2])
    to_fit = [example for example in examples if example.patient in fit_on]
    to_test = [example for example in examples if example.patient not in fit_on]
    plan = natural(_tries(model, to_fit, partial(progress, "verdict, fitted")))
    unseen = _tries(model, to_test, partial(progress, "verdict, measured"))
    both = len({each.hit for each in unseen}) == 2
    return Trusted(
        verdict=plan,
        check=_check(model, network, unseen, to_test) if unseen else None,
        figures=_figures(unseen, judged(plan, unseen)) if plan and both else {},
    )


def natural(tries: Sequence[Tried]) -> VerdictPlan | None:
    """The verdict whose chance is that of maps that hit as often as these.

    ``fitted`` counts hits and misses alike, for the misses of twins are as many as one makes.
    """
    plan = fitted(tries)
    if plan is None:
        return None
    hits = sum(each.hit for each in tries)
    prior = float(np.log(hits / (len(tries) - hits)))
    return plan.model_copy(update={"bias": round(plan.bias + prior, 4)})


def _tries(
    model: Model, examples: Sequence[Example], progress: Callable[[float], None]
) -> list[Tried]:
    found: list[Tried] = []
    for done, (example, images) in enumerate(_read(examples), 1):
        mask = read_mask(example, images)
        if mask is not None:
            prepared = prepare(images, model.manifest)
            found += tried(model, prepared, images, mask, PROVENANCE)
        progress(done / len(examples))
    return found


def _figures(tries: Sequence[Tried], verdict: Judged) -> Mapping[str, Figure]:
    def count(hits: Sequence[bool], trusts: Sequence[Trust]) -> int:
        return sum(verdict.confusion.get((hit, trust), 0) for hit in hits for trust in trusts)

    reliable = [Trust.RELIABLE]
    return {
        **figures(tries, verdict),
        "Maps that miss not called reliable": proportion(
            count([False], [Trust.CAUTION, Trust.NOT_RELIABLE]), count([False], list(Trust))
        ),
        "Maps that hit called reliable": proportion(
            count([True], reliable), count([True], list(Trust))
        ),
        "Maps called reliable that hit": proportion(
            count([True], reliable), count([True, False], reliable)
        ),
    }


def _check(
    model: Model, network: keras.Model, tries: Sequence[Tried], examples: Sequence[Example]
) -> ExplanationCheck:
    shown = examples[:: max(1, len(examples) // RANDOMISED)]
    values = [prepare(images, model.manifest).values for _, images in _read(shown)]
    random = cascade(model, network, np.concatenate(values))
    return ExplanationCheck(
        hits=_part([each.hit for each in tries]),
        centre=_part([each.centre for each in tries]),
        average=_part([each.average for each in tries]),
        randomised=random[0].similarity,
        cases=len(tries),
    )


def _read(examples: Sequence[Example]) -> Iterator[tuple[Example, SourceImages]]:
    return ((example, read_images(example, CHENG_MM)) for example in examples)


def _part(hits: Sequence[bool]) -> float:
    return round(float(np.mean(hits)), 4)

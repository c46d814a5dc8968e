"""How far a model's maps can be believed: fitted and measured on cases whose masks are known.

The verdict is fitted on every other patient, and measured on the rest. Some maps of a model miss by
themselves, so that no misled twins are needed (see ``phantom_trust`` for a model whose maps hit).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import keras
import numpy as np

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import Trust
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelInput
from dicom_node.domain.outputs import Regression
from dicom_node.domain.trust import ExplanationCheck, VerdictPlan
from workers.items import Items, taken
from workers.model import Model
from workers.preprocess import prepare
from workers.progress import Progress
from workers.sanity import cascade
from workers.steps.prepared import Prepared
from workers.training.dataset import Example
from workers.training.evaluate import PROVENANCE
from workers.training.measures import Figure
from workers.training.reading import read_case, read_mask
from workers.training.shuffled import Lesson, shuffled
from workers.training.trying import Judged, Tried, figures, judged, named, natural, tried

RANDOMISED = 12
"""Slices whose maps are compared with those of a network with random weights."""


@dataclass(frozen=True)
class Cases:
    """Cases, most of them with masks, and the spacing of image files whose table has none."""

    examples: Sequence[Example]
    spacing_mm: float | None = None

    @property
    def patients(self) -> Sequence[str]:
        """In the order of their first case; a case of nobody is one by itself."""
        return list(dict.fromkeys(patient_of(example) for example in self.examples))

    @property
    def with_masks(self) -> "Cases":
        """Those that a mask shows the place of."""
        return replace(self, examples=[e for e in self.examples if e.mask is not None])

    def halves(self) -> tuple["Cases", "Cases"]:
        """Every other patient of those who show the same, with masks or without, and the rest.

        So that both have of each kind, in whatever order the table names them.
        """
        shown: dict[str, set[str]] = {patient: set() for patient in self.patients}
        for example in self.examples:
            shown[patient_of(example)] |= {*example.labels, *(["/mask"] if example.mask else [])}
        alike = sorted(self.patients, key=lambda patient: sorted(shown[patient]))
        first = frozenset(alike[::2])
        return (
            replace(self, examples=[e for e in self.examples if patient_of(e) in first]),
            replace(self, examples=[e for e in self.examples if patient_of(e) not in first]),
        )

    def thinned(self, count: int) -> "Cases":
        """At most so many of them, evenly drawn."""
        step = -(-len(self.examples) // count)
        return replace(self, examples=self.examples[:: max(1, step)])

    def images(
        self, plan: ModelInput, progress: Callable[[float], None]
    ) -> Iterator[tuple[Example, SourceImages]]:
        """One after the other, as the model reads them."""
        for done, example in enumerate(self.examples, 1):
            yield example, read_case(example, plan, self.spacing_mm)
            progress(done / len(self.examples))

    def read(self, plan: ModelInput, progress: Callable[[float], None]) -> Iterator["Read"]:
        """The same of those with a mask."""
        for example, images in self.with_masks.images(plan, progress):
            mask = read_mask(example, images)
            if mask is not None:
                yield Read(example, images, mask)

    def tries(
        self, model: Model, progress: Callable[[float], None], *, weighed: bool = True
    ) -> list[Tried]:
        """The maps of all present findings, or of the numbers that the masks are of.

        Those that are not ``weighed`` have no numbers to judge them by, and cost a quarter.
        """
        found: list[Tried] = []
        for each in self.read(model.manifest.input, progress):
            prepared = prepare(each.images, model.manifest)
            labels, patient = each.example.labels, patient_of(each.example)
            found += tried(
                model, prepared, each.mask, PROVENANCE, labels, patient=patient, weighed=weighed
            )
        return found


@dataclass(frozen=True, slots=True)
class Read:
    """One case."""

    example: Example
    images: SourceImages
    mask: BoolArray
    """(frames, rows, columns)."""


@dataclass(frozen=True)
class Trusted:
    """What goes into the manifest, and onto the card."""

    verdict: VerdictPlan | None
    """None where all maps hit, or none does."""
    check: ExplanationCheck | None
    figures: Mapping[str, Figure]


def trust(
    model: Model, network: keras.Model, to_fit: Cases, to_test: Cases, progress: Progress
) -> Trusted:
    """``model`` has its reference, and ``network`` is its own."""
    plan = natural(to_fit.tries(model, partial(progress, "verdict, fitted")))
    unseen = to_test.tries(model, partial(progress, "verdict, measured"))
    both = len({each.hit for each in unseen}) == 2
    lesson = lesson_of(model, to_test, partial(progress, "slices"))
    return Trusted(
        verdict=plan,
        check=checked(model, network, unseen, lesson, progress) if unseen else None,
        figures=_figures(unseen, judged(plan, unseen)) if plan and both else {},
    )


def checked(
    model: Model, network: keras.Model, tries: Sequence[Tried], lesson: Lesson, progress: Progress
) -> ExplanationCheck:
    """All maps together, against baselines, random weights and shuffled labels."""
    return ExplanationCheck(
        hits=_part([each.hit for each in tries]),
        centre=_part([each.centre for each in tries]),
        average=_part([each.average for each in tries]),
        randomised=cascade(model, network, lesson.shown(RANDOMISED))[0].similarity,
        shuffled=shuffled(model, network, lesson, partial(progress, "shuffled labels")),
        cases=len(tries),
    )


def lesson_of(model: Model, cases: Cases, progress: Callable[[float], None]) -> Lesson:
    """The items that show what was looked for, and as many others of the same cases."""
    plan = model.manifest.explained
    labels = plan.labels if plan else ()
    values, answers = [], []
    for each in cases.read(model.manifest.input, progress):
        prepared = prepare(each.images, model.manifest)
        items = Items.of(model.manifest.input, prepared)
        shown = showing(items, prepared, each.mask)
        others = np.flatnonzero(~shown)
        others = others[:: max(1, len(others) // max(1, shown.sum()))]
        chosen = np.concatenate([np.flatnonzero(shown), others])
        values.append(items.stacked(prepared.values, chosen))
        answers.append(shown[chosen, None] & named(labels, each.example.labels))
    every = np.concatenate(values)
    numbers = _numbers(model, every, plan.kind) if isinstance(plan, Regression) else None
    return Lesson(every, np.concatenate(answers), numbers)


def _numbers(model: Model, values: FloatArray, head: str) -> FloatArray:
    """(items, quantities): what the model says of each."""
    size, unit = model.manifest.input.batch, model.manifest.input.unit
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    return np.concatenate([model.predict(taken(each, unit)).heads[head] for each in parts])


def showing(items: Items, prepared: Prepared, mask: BoolArray) -> BoolArray:
    """(items,): those that show something of a mask, (frames, rows, columns) of the source."""
    on_model: FloatArray = prepared.grid.sample(mask.astype(np.float32))
    frames = np.zeros(items.count, bool)
    frames[prepared.nearest[(on_model >= 0.5).any(axis=(1, 2))]] = True
    return np.asarray(frames[items.frames].any(axis=1))


def patient_of(example: Example) -> str:
    """Who a case is of; a case of nobody is one by itself."""
    return example.patient or example.name


def _figures(tries: Sequence[Tried], verdict: Judged) -> Mapping[str, Figure]:
    reliable = Trust.RELIABLE
    found = {
        **figures(tries, verdict),
        "Maps that miss not called reliable": verdict.called(
            Trust.CAUTION, Trust.NOT_RELIABLE, hit=False
        ),
        "Maps that hit called reliable": verdict.called(reliable, hit=True),
    }
    if (verdict.trusts == reliable).any():
        found["Maps called reliable that hit"] = verdict.hitting(reliable)
    return found


def _part(hits: Sequence[bool]) -> float:
    return round(float(np.mean(hits)), 4)

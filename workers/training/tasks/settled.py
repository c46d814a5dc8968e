"""What a recipe settles of its maps: the method that points best, and how far to believe it.

A verdict is fitted on maps that hit and maps that miss. Those of the network itself mostly hit;
those that miss are made by its twins, and judged on a mark that no fit saw, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from dicom_node.domain.outputs import Regression
from explain import outliers
from explain.gradcam import WEIGHTINGS
from workers.arrays import Arrays
from workers.asked import AVERAGE_MASK
from workers.keras_model import KerasModel
from workers.model import Model
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.localise import UNSCALED, compared
from workers.training.masked import checked
from workers.training.measures import Figure
from workers.training.misled import Mark
from workers.training.phantom_trust import SEEN_MARKS, UNSEEN_MARK
from workers.training.shuffled import Lesson
from workers.training.tasks.examples import Examples
from workers.training.tasks.planted import CHECKING, PROVENANCE, TEST, Places, Plant, Size, part
from workers.training.tasks.twins import STEPS, drawn, misled
from workers.training.trying import Tried, figures, fitted, judged, tried

COMPARED, FITTED, TESTED = 12, 24, 40
"""Phantoms on which methods are compared, the verdict is fitted, and both are measured."""
ENOUGH = 0.9
"""Part of the maps of a method that hit, from which on no other is tried."""


@dataclass(frozen=True)
class Subject:
    """A network whose maps are settled, and phantoms to do it on."""

    network: keras.Model
    examples: Examples
    """Some that it was trained on."""
    held_out: Examples
    """Others, which set the distance up to which an image is like them."""
    losses: Sequence[Any]
    plant: Plant
    places: Places
    size: Size
    progress: Progress

    def bound(self, manifest: ModelManifest) -> KerasModel:
        """The network, explained as a manifest says."""
        return KerasModel(manifest, self.network)

    def tries(self, model: Model, seeds: Sequence[int], mark: Mark | None = None) -> list[Tried]:
        """See ``tries``."""
        return tries(self.plant, self.places, model, seeds, mark)

    def seeds(self, first: int, count: int) -> range:
        """So many, or as many as the size asks for."""
        return range(first, first + part(count, self.size.checks))

    def twin(self, manifest: ModelManifest, mark: Mark) -> keras.Model:
        """A twin of the network that was taught a mark."""
        targets = len(manifest.explained.labels) if manifest.explained else 0
        steps = part(STEPS, self.size.epochs)
        marked = self.places.marked
        return misled(self.network, self.examples, mark, self.losses, targets, marked, steps)


@dataclass(frozen=True)
class Settled:
    """What goes into the manifest, beside it into the bundle, and onto the card."""

    plan: ExplanationPlan
    reference: Arrays
    figures: Mapping[str, Figure]


def tries(
    plant: Plant,
    places: Places,
    model: Model,
    seeds: Sequence[int],
    mark: Mark | None = None,
) -> list[Tried]:
    """The maps of all that a model says of phantoms, each with a mark where one is given.

    The same seed gives the same phantom and the same mark.
    """
    plan = model.manifest.explained
    found: list[Tried] = []
    for seed in seeds:
        planted = plant(seed)
        prepared = prepare(planted.images, model.manifest)
        if mark is not None:
            values = np.array(prepared.values, np.float32, order="C")
            drawn(values, mark, np.random.default_rng(seed))
            prepared = replace(prepared, values=values)
        truth, labels = partial(places.of, planted), plan.labels if plan else ()
        found += tried(model, prepared, truth, PROVENANCE, labels, patient=str(seed))
    return found


def best(subject: Subject, draft: ModelManifest) -> ExplanationPlan:
    """The recipe's own method where most of its maps hit; else the best of one pass."""
    seeds = subject.seeds(CHECKING, COMPARED)

    def attempt(model: Model, count: int) -> list[Tried]:
        return subject.tries(model, seeds[:count])

    plain = draft.explanation.model_copy(update={"full_scale": UNSCALED})
    own = attempt(subject.bound(draft.model_copy(update={"explanation": plain})), COMPARED)
    if own and np.mean([each.hit for each in own]) >= ENOUGH:
        return draft.explanation
    found = compared(draft, subject.bound, attempt)
    subject.progress("methods compared", 1)
    return next(each.plan for each in found if each.plan.method in WEIGHTINGS)


def settle(subject: Subject, manifest: ModelManifest) -> Settled:
    """Check and verdict of the manifest's method; its figures are of seeds that no fit saw."""
    model = subject.bound(manifest)
    model.reference = reference = _reference(subject, model)
    twins: dict[Mark, KerasModel] = {
        mark: KerasModel(manifest, subject.twin(manifest, mark), reference)
        for mark in (*SEEN_MARKS, UNSEEN_MARK)
    }
    to_fit, to_test = subject.seeds(CHECKING, FITTED), subject.seeds(TEST, TESTED)
    right = subject.tries(model, to_fit)
    verdict = fitted([*right, *_missed(subject, twins, SEEN_MARKS, to_fit)])
    subject.progress("verdict, fitted", 1)
    unseen = subject.tries(model, to_test)
    every = [*unseen, *_missed(subject, twins, [*twins], to_test)]
    both = len({each.hit for each in every}) == 2
    lesson = _lesson(subject.examples, manifest)
    check = checked(model, subject.network, unseen, lesson, subject.progress) if unseen else None
    return Settled(
        manifest.explanation.model_copy(update={"verdict": verdict, "check": check}),
        reference,
        figures(unseen, judged(verdict, every)) if verdict and both else {},
    )


def _missed(
    subject: Subject,
    twins: Mapping[Mark, KerasModel],
    marks: Sequence[Mark],
    seeds: Sequence[int],
) -> list[Tried]:
    """The maps of twins, of phantoms with their marks: of each mark as many as ``seeds`` allow."""
    shared = [seeds[number :: len(marks)] for number in range(len(marks))]
    pairs = zip(marks, shared, strict=True)
    return [each for mark, own in pairs for each in subject.tries(twins[mark], own, mark)]


def _reference(subject: Subject, model: KerasModel) -> Arrays:
    """Where what is looked for lies, and what the images look like."""
    known, others = (
        _features(model, examples.given) for examples in (subject.examples, subject.held_out)
    )
    reference = dict(outliers.fit(known, others).arrays())
    if subject.examples.drawn is not None:
        reference[AVERAGE_MASK] = subject.examples.drawn.mean(axis=0)
    return reference


def _features(model: KerasModel, given: Sequence[FloatArray]) -> FloatArray:
    """(items, channels)."""
    size, parts = model.manifest.input.batch, []
    for start in range(0, len(given[0]), size):
        batch = [each[start : start + size] for each in given]
        features = model.predict(batch if len(batch) > 1 else batch[0]).features
        if features is not None:
            parts.append(features)
    return np.concatenate(parts)


def _lesson(examples: Examples, manifest: ModelManifest) -> Lesson:
    """What the network was taught, to be taught to others in disorder."""
    given, plan = examples.given, manifest.explained
    values = given[0] if len(given) == 1 else np.stack(given, axis=1)
    said = examples.wanted[0][..., : len(plan.labels) if plan else 0]
    said = said.reshape(len(said), -1, said.shape[-1]).max(axis=1)
    if isinstance(plan, Regression):
        return Lesson(values, np.ones(said.shape, bool), said)
    return Lesson(values, said >= 0.5)

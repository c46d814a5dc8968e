"""Phantoms in, a bundle folder out: what the recipes of all tasks share."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest, Resources
from reports.key_slices import is_absent
from workers.analysis import analyse_images
from workers.arrays import Arrays
from workers.keras_model import KerasModel
from workers.model import Model
from workers.packaging import package_file
from workers.progress import Progress, silent
from workers.training.measures import Figure, proportion
from workers.training.tasks.examples import Answers, Examples, collect
from workers.training.tasks.planted import (
    CHECKING,
    FULL,
    PROVENANCE,
    TEST,
    TRAINING,
    Places,
    Plant,
    Right,
    Size,
    part,
)
from workers.training.tasks.settled import Settled, Subject, best, settle
from workers.training.tasks.text import card_text, filled
from workers.training.text import parse

TALL_MAPS = 90
"""Percentile of the peaks of maps that fills the colour bar."""
KNOWN = 120
"""Training examples on which maps are settled; half as many others are held out."""
HELD_OUT = CHECKING + 5_000
"""First seed of images that training did not see, and that nothing is measured on."""
RESOURCES = Resources(memory_gib=2, seconds=60)
UNEXPLAINED = ExplanationPlan(method="none")


@dataclass(frozen=True)
class Recipe:
    """How one bundle is made."""

    manifest: str
    """Text with ``$performance`` and the other places that ``text.filled`` fills."""
    build: Callable[[ModelManifest], keras.Model]
    plant: Plant
    answers: Answers
    losses: Sequence[Any]
    """One an output."""
    right: Right
    question: str
    """What ``right`` means, in words: a row of the card."""
    examples: int = 500
    epochs: int = 12
    batch: int = 16
    rate: float = 3e-3
    checks: int = 100
    example: int = TEST
    """Seed of the phantom that becomes the golden test."""
    mirrored: bool = False
    """Whether it learns from mirror images, too: one that saw a single way up may learn features
    that lie beside what they mean, and its maps with them."""
    explanation: ExplanationPlan = UNEXPLAINED
    """The method to begin with: another one that points better is taken in its place."""
    places: Places | None = None
    """What its maps should name; none of a model that no map explains."""
    resources: Resources = RESOURCES
    """As ``dicom-worker check`` measured them, with a margin for a slower machine."""

    def train(
        self, folder: Path, seed: int = 0, progress: Progress = silent, size: Size = FULL
    ) -> BundleFolder:
        """Fit, measure on phantoms that training never saw, and write the bundle."""
        draft = manifest_of(self)
        keras.utils.set_random_seed(seed)
        network = self.build(draft)
        examples = self._examples(draft, TRAINING, part(self.examples, size.examples), progress)
        _fit(self, network, examples, size, progress)
        network = keras.Model(network.inputs, network.outputs)
        some = Settled(draft.explanation, {}, {})
        if self.places is not None:
            subject = self._subject(draft, network, examples, self.places, size, progress)
            some = self._settled(subject, draft)
        model = KerasModel(_with(draft, some.plan, measure_passes=0), network, some.reference)
        figure = measure(self.plant, self.right, model, part(self.checks, size.checks), progress)
        data = f"{part(self.examples, size.examples)} synthetic phantoms of the repository."
        return self._write(folder, network, some, figure, data)

    def settle_again(
        self,
        folder: Path,
        bundle: BundleFolder,
        progress: Progress = silent,
        size: Size = FULL,
    ) -> BundleFolder:
        """Settle anew the maps of a trained bundle, and write it.

        Its weights stay, and how often it says the truth. Raises ValueError for a recipe whose
        answers no map explains.
        """
        if self.places is None:
            raise ValueError(f"{bundle.id} has no maps to settle")
        network = keras.saving.load_model(bundle.path / WEIGHTS, compile=False, safe_mode=True)
        plan = bundle.manifest.explanation.model_copy(update={"verdict": None, "check": None})
        draft = _with(bundle.manifest, plan)
        examples = self._examples(draft, TRAINING, part(KNOWN, size.examples), progress)
        subject = self._subject(draft, network, examples, self.places, size, progress)
        card = bundle.manifest.card
        row = next(each for each in card.performance if each.name == self.question)
        figure = Figure(row.value, row.low, row.high, row.cases)
        settled = self._settled(subject, draft)
        return self._write(folder, network, settled, figure, card.training_data)

    def _settled(self, subject: Subject, draft: ModelManifest) -> Settled:
        plan = best(subject, draft)
        model = subject.bound(_with(draft, plan, measure_passes=0))
        scale = full_scale(self, model, part(40, subject.size.checks))
        return settle(subject, _with(draft, plan, full_scale=scale))

    def _write(
        self, folder: Path, network: keras.Model, settled: Settled, figure: Figure, data: str
    ) -> BundleFolder:
        figures = {self.question: figure, **settled.figures}
        text = filled(self.manifest, settled.plan, self.resources, figures, data)
        reference = settled.reference or None
        return write(folder, text, network, self.plant(self.example).images, reference)

    def _subject(
        self,
        draft: ModelManifest,
        network: keras.Model,
        examples: Examples,
        places: Places,
        size: Size,
        progress: Progress,
    ) -> Subject:
        held_out = self._examples(draft, HELD_OUT, part(KNOWN // 2, size.checks), progress)
        return Subject(
            network,
            examples.some(KNOWN),
            held_out,
            self.losses,
            self.plant,
            places,
            size,
            progress,
        )

    def _examples(
        self, draft: ModelManifest, first: int, count: int, progress: Progress
    ) -> Examples:
        seeds = range(first, first + count)
        return collect(self.plant, self.answers, self.places, draft, seeds, progress)


def _with(manifest: ModelManifest, plan: ExplanationPlan, **changed: object) -> ModelManifest:
    return manifest.model_copy(update={"explanation": plan.model_copy(update=changed)})


def manifest_of(recipe: Recipe) -> ModelManifest:
    """The manifest, before anything is measured."""
    return parse(filled(recipe.manifest, recipe.explanation, recipe.resources))


def write(
    folder: Path,
    manifest: str,
    network: keras.Model,
    example: SourceImages,
    reference: Arrays | None = None,
) -> BundleFolder:
    """Write the bundle of a network that is not compiled: none remembers its optimizer."""
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "model.keras"
        network.save(weights)
        card = card_text(manifest)
        return package_file(folder, weights, manifest, card, example, reference)


def _fit(
    recipe: Recipe, network: keras.Model, examples: Examples, size: Size, progress: Progress
) -> None:
    shown = examples.mirrored() if recipe.mirrored else examples
    epochs = part(recipe.epochs, size.epochs)
    steps = epochs * -(-len(shown.wanted[0]) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.rate, steps)
    network.compile(keras.optimizers.Adam(rate), loss=list(recipe.losses))
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: progress("training", (epoch + 1) / epochs)
    )
    network.fit(
        list(shown.given),
        list(shown.wanted),
        batch_size=recipe.batch,
        epochs=epochs,
        verbose=0,
        callbacks=[told],
    )


def full_scale(recipe: Recipe, model: KerasModel, count: int) -> float:
    """Upper end of the colour bar, so that tall maps of what is there fill it."""
    peaks = []
    for seed in range(CHECKING, CHECKING + count):
        analysis = analyse_images(recipe.plant(seed).images, model, PROVENANCE)
        shown = [a.explanation for a in analysis.answers if a.explanation and not is_absent(a)]
        peaks += [float(explanation.saliency.peaks.max()) for explanation in shown]
    return float(f"{np.percentile(peaks, TALL_MAPS):.3g}") if peaks else 1.0


def measure(plant: Plant, right: Right, model: Model, count: int, progress: Progress) -> Figure:
    """How often the pipeline says the truth, of phantoms that training never saw."""
    hits = 0
    for done, seed in enumerate(range(TEST, TEST + count), 1):
        planted = plant(seed)
        hits += right(planted, analyse_images(planted.images, model, PROVENANCE))
        progress("measuring", done / count)
    return proportion(hits, count)

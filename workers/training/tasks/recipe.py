"""Phantoms in, a bundle folder out: what the recipes of all tasks share."""

import json
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

import keras
import numpy as np

from dicom_node.catalog import BundleFolder
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.provenance import Provenance
from explain.network import flat
from reports.key_slices import is_absent
from workers.analysis import analyse_images
from workers.items import Items
from workers.keras_model import KerasModel
from workers.model import Model
from workers.packaging import package_file
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.steps.prepared import Prepared
from workers.training.measures import Figure, proportion
from workers.training.text import opening

TRAINING, CHECKING, TEST = 40_000, 50_000, 60_000
"""First seeds of what is fitted, calibrated and measured; tests of the repository: from 70 000."""
PROVENANCE = Provenance("2.25.1", 1, "", "", "", datetime(2026, 1, 1))
TALL_MAPS = 90
"""Percentile of the peaks of maps that fills the colour bar."""


@dataclass(frozen=True)
class Planted:
    """A phantom as the pipeline reads it, and the truth about it."""

    images: SourceImages
    truth: Any


Plant = Callable[[int], Planted]
"""The phantom of a seed."""
Right = Callable[[Planted, Analysis], bool]
"""Whether the pipeline said the truth."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a recipe is done: parts of its examples and epochs."""

    examples: float = 1.0
    epochs: float = 1.0
    checks: float = 1.0


FULL, TINY = Size(), Size(0.02, 0.05, 0.05)
"""The second to see that a recipe runs; what it makes knows nothing."""


@dataclass(frozen=True)
class Recipe:
    """How one bundle is made."""

    manifest: str
    """Text with ``$full_scale``, ``$performance`` and ``$training_data``."""
    build: Callable[[ModelManifest], keras.Model]
    plant: Plant
    answers: Callable[[Planted, Prepared, Items], Sequence[FloatArray]]
    """What each output of the network should say of each item."""
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

    def train(
        self, folder: Path, seed: int = 0, progress: Progress = silent, size: Size = FULL
    ) -> BundleFolder:
        """Fit, measure on phantoms that training never saw, and write the bundle."""
        draft = manifest_of(self)
        keras.utils.set_random_seed(seed)
        network = self.build(draft)
        examples = part(self.examples, size.examples)
        _fit(self, network, draft, range(TRAINING, TRAINING + examples), size, progress)
        scale = full_scale(self, KerasModel(draft, network), part(40, size.checks))
        model = KerasModel(manifest_of(self, scale), network)
        checks = part(self.checks, size.checks)
        figure = measure(self.plant, self.right, model, checks, progress)
        data = f"{examples} synthetic phantoms of the repository."
        text = filled(self.manifest, scale, self.question, figure, data)
        return write(folder, text, network, self.plant(self.example).images)


def manifest_of(recipe: Recipe, full_scale: float = 1.0) -> ModelManifest:
    """The manifest, before anything is measured."""
    return parsed(filled(recipe.manifest, full_scale))


def write(folder: Path, manifest: str, network: keras.Model, example: SourceImages) -> BundleFolder:
    """Write the bundle, without what the optimizer remembers."""
    served = keras.Model(network.inputs, network.outputs)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "model.keras"
        served.save(weights)
        return package_file(folder, weights, manifest, card_text(manifest), example)


def card_text(manifest: str) -> str:
    """The manifest's card, for people."""
    said = parsed(manifest)
    card = said.card
    rows = [
        f"- {f.name}: {f.value:.3f} ({f.low:.3f} to {f.high:.3f}), {f.cases} {f.data}"
        for f in card.performance
    ]
    parts = [
        *opening(said),
        "## Performance",
        "\n".join(rows) or "Not measured.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in card.limits),
    ]
    return "\n\n".join(parts) + "\n"


def part(count: int, share: float) -> int:
    """So much of a count, and 1 at least."""
    return max(1, round(count * share))


def parsed(manifest: str) -> ModelManifest:
    """The manifest that a text describes."""
    return ModelManifest.model_validate(tomllib.loads(manifest))


def filled(
    manifest: str,
    full_scale: float = 1.0,
    question: str = "",
    figure: Figure | None = None,
    data: str = "Phantoms.",
) -> str:
    """A manifest's text with what was measured."""
    performance = "" if figure is None else _figure(question, figure)
    return Template(manifest).substitute(
        full_scale=full_scale, performance=performance, training_data=data
    )


def _figure(question: str, figure: Figure) -> str:
    lines = {
        "name": question,
        "value": round(figure.value, 4),
        "low": round(max(0.0, figure.low), 4),
        "high": round(min(1.0, figure.high), 4),
        "cases": figure.cases,
        "data": "phantoms with seeds that training never used",
    }
    body = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    return f"[[card.performance]]\n{body}\n"


def _fit(
    recipe: Recipe,
    network: keras.Model,
    manifest: ModelManifest,
    seeds: Sequence[int],
    size: Size,
    progress: Progress,
) -> None:
    given, wanted = _collect(recipe, manifest, seeds, progress)
    if recipe.mirrored:
        given = [_mirrored(each) for each in given]
    epochs = part(recipe.epochs, size.epochs)
    steps = epochs * -(-len(wanted[0]) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.rate, steps)
    network.compile(keras.optimizers.Adam(rate), loss=list(recipe.losses))
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: progress("training", (epoch + 1) / epochs)
    )
    network.fit(given, wanted, batch_size=recipe.batch, epochs=epochs, verbose=0, callbacks=[told])


def _collect(
    recipe: Recipe, manifest: ModelManifest, seeds: Sequence[int], progress: Progress
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Inputs and wanted outputs of all items, each an array."""
    given, wanted = [], []
    for done, seed in enumerate(seeds, 1):
        planted = recipe.plant(seed)
        prepared = prepare(planted.images, manifest)
        items = Items.of(manifest.input, prepared)
        given.append(flat(items.inputs(prepared.values, slice(None))))
        wanted.append(recipe.answers(planted, prepared, items))
        progress("phantoms", done / len(seeds))
    return _joined(given), _joined(wanted)


def _mirrored(images: FloatArray) -> FloatArray:
    """(items, rows, columns, channels): a quarter of them each way up and round."""
    way = np.arange(len(images))
    turned = np.where((way % 2 == 1)[:, None, None, None], images[:, ::-1], images)
    return np.where((way // 2 % 2 == 1)[:, None, None, None], turned[:, :, ::-1], turned)


def _joined(parts: Sequence[Sequence[FloatArray]]) -> list[FloatArray]:
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def full_scale(recipe: Recipe, model: KerasModel, count: int) -> float:
    """Upper end of the colour bar, so that tall maps of what is there fill it."""
    if model.explainer() is None:
        return 1.0
    peaks = []
    for seed in range(CHECKING, CHECKING + count):
        analysis = analyse_images(recipe.plant(seed).images, model, PROVENANCE)
        shown = [a.explanation for a in analysis.answers if a.explanation and not is_absent(a)]
        peaks += [float(explanation.saliency.peaks.max()) for explanation in shown]
    return max(0.1, round(float(np.percentile(peaks, TALL_MAPS)), 2)) if peaks else 1.0


def measure(plant: Plant, right: Right, model: Model, count: int, progress: Progress) -> Figure:
    """How often the pipeline says the truth, of phantoms that training never saw."""
    hits = 0
    for done, seed in enumerate(range(TEST, TEST + count), 1):
        planted = plant(seed)
        hits += right(planted, analyse_images(planted.images, model, PROVENANCE))
        progress("measuring", done / count)
    return proportion(hits, count)

"""The recipe of the reference bundle ``phantom-lesion``: phantoms in, a bundle folder out."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from dicom_node.catalog import BundleFolder
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.keras_model import KerasModel
from workers.packaging import package
from workers.progress import Progress, silent
from workers.training.choose import choose
from workers.training.evaluate import evaluate
from workers.training.fit import fit
from workers.training.measures import Figure
from workers.training.network import LOGIT
from workers.training.phantom_text import Chosen, card_text, manifest_text, parse
from workers.training.slices import collect

TRAINING_SEEDS = range(10_000)
VALIDATION_SEEDS = range(10_000, 20_000)
TEST_SEEDS = range(20_000, 30_000)
"""Disjoint, so that no phantom is met twice. Tests of the repository take seeds from 30 000."""
EXAMPLE_SEED = 20_000
"""Of the golden test."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much work a training is: numbers of phantoms, and steps of 16 slices."""

    training: int
    validation: int
    test: int
    steps: int


FULL = Size(training=360, validation=100, test=160, steps=5000)
TINY = Size(training=2, validation=4, test=4, steps=2)
"""To see that the recipe runs; what it makes knows nothing."""


def train_phantom(
    folder: Path, seed: int = 0, progress: Progress = silent, size: Size = FULL
) -> BundleFolder:
    """Train, calibrate, choose the operating point, measure, and write the bundle.

    The same seed and size give the same figures on the same kind of machine.
    """
    draft = parse(manifest_text())
    slices = collect(TRAINING_SEEDS[: size.training], draft, progress)
    network = fit(slices, steps=size.steps, seed=seed, progress=progress)
    chosen = choose(KerasModel(draft, network), VALIDATION_SEEDS[: size.validation], progress)
    network.get_layer(LOGIT).bias.assign_sub([chosen.shift])
    model = KerasModel(parse(manifest_text(chosen)), network)
    figures = evaluate(model, TEST_SEEDS[: size.test], progress)
    return _write(folder, network, chosen, figures, size)


def _write(
    folder: Path,
    network: keras.Model,
    chosen: Chosen,
    figures: Mapping[str, Figure],
    size: Size,
) -> BundleFolder:
    data = f"{size.training} synthetic CT phantoms of the repository, {size.steps} steps."
    manifest = manifest_text(chosen, figures, data)
    with tempfile.TemporaryDirectory() as scratch:
        example = save_study(make_study(phantom(EXAMPLE_SEED, slices=3, size=128)), Path(scratch))
        return package(folder, network, manifest, card_text(parse(manifest)), example)

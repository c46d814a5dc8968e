"""The recipe of the reference bundle ``phantom-lesion``: phantoms in, a bundle folder out."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.keras_model import KerasModel
from workers.packaging import package
from workers.progress import Progress, silent
from workers.training.choose import choose
from workers.training.evaluate import evaluate
from workers.training.fit import fit
from workers.training.localise import by_method, preferred
from workers.training.measures import Figure
from workers.training.network import LOGIT
from workers.training.phantom_text import DATA, INTERVALS, Chosen, decision, manifest_text
from workers.training.phantom_trust import Effort, methods, trust
from workers.training.slices import collect
from workers.training.text import card_text, parse

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
    trust: Effort


FULL = Size(360, 100, 160, 5000, Effort(30, 24, 24, 80, 120))
TINY = Size(2, 4, 4, 2, Effort(2, 2, 2, 2, 1))
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
    data = f"{size.training} synthetic CT phantoms of the repository, {size.steps} steps."
    return _trusted(folder, network, chosen, figures, data, size, progress)


def trust_again(
    folder: Path, bundle: BundleFolder, progress: Progress = silent, size: Size = FULL
) -> BundleFolder:
    """Fit anew what a trained bundle knows of its maps, and write it; its weights stay."""
    manifest = bundle.manifest
    network = keras.saving.load_model(bundle.path / WEIGHTS, compile=False, safe_mode=True)
    targets = manifest.classification.targets if manifest.classification else ()
    chosen = Chosen(temperature=targets[0].temperature, plan=manifest.explanation)
    figures: dict[str, dict[str, Figure]] = {}
    for row in (row for row in manifest.card.performance if row.data == DATA):
        figure = Figure(row.value, row.low, row.high, row.cases)
        figures.setdefault(row.subgroup, {})[row.name] = figure
    data = manifest.card.training_data
    return _trusted(folder, network, chosen, figures, data, size, progress)


def _trusted(
    folder: Path,
    network: keras.Model,
    chosen: Chosen,
    figures: Mapping[str, Mapping[str, Figure]],
    data: str,
    size: Size,
    progress: Progress,
) -> BundleFolder:
    seeds = (TRAINING_SEEDS, VALIDATION_SEEDS, TEST_SEEDS)
    draft = parse(manifest_text(chosen))
    compared = methods(draft, network, VALIDATION_SEEDS, size.trust, progress)
    plan = preferred(draft.explanation, compared)
    chosen = replace(chosen, plan=plan)
    found = trust(parse(manifest_text(chosen)), network, seeds, size.trust, progress)
    plan = plan.model_copy(update={"verdict": found.verdict, "check": found.check})
    chosen = replace(chosen, plan=plan, conformal=found.conformal)
    figures = {**figures, "": {**figures[""], **found.figures}}
    manifest = manifest_text(chosen, figures, data, by_method(compared))
    with tempfile.TemporaryDirectory() as scratch:
        example = save_study(make_study(phantom(EXAMPLE_SEED, slices=3, size=128)), Path(scratch))
        card = card_text(parse(manifest), INTERVALS, decision(chosen))
        return package(folder, network, manifest, card, example, found.reference)

"""The recipe of the reference bundle ``brain-mr-tumour``: a data set in, a bundle folder out."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ModelManifest
from explain import outliers
from explain.projection import Grid
from workers.arrays import Arrays
from workers.asked import AVERAGE_MASK
from workers.bundle import reference_of
from workers.keras_model import KerasModel
from workers.loading import load_model
from workers.model import Model
from workers.packaging import package_file
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.training.brain.augment import STORED
from workers.training.brain.choose import ask, choose
from workers.training.brain.data import CHENG_MM, collect, read_folds
from workers.training.brain.example import example
from workers.training.brain.fit import fit
from workers.training.brain.measuring import measure
from workers.training.brain.network import SIDE
from workers.training.brain.slices import Slices
from workers.training.brain.text import DECISION, INTERVALS, Chosen, manifest_text
from workers.training.dataset import Example
from workers.training.heard import hear, patients_of
from workers.training.left_open import Opened, left_open
from workers.training.localise import by_method, compared, preferred
from workers.training.masked import Cases as MaskedCases
from workers.training.masked import trust
from workers.training.measures import Figure, Measured
from workers.training.reading import read_images
from workers.training.settle import attempts
from workers.training.text import card_text, parse

STEPS = 8000
"""Of 16 slices: an hour on two cores."""
THINNED = 6
"""One training slice in so many says what is known: its neighbours are alike."""


@dataclass(frozen=True)
class Data:
    """Where the data is, and what is said of it."""

    folder: Path
    training: Sequence[Example]
    choosing: Sequence[Example]

    @classmethod
    def read(cls, folder: Path) -> "Data":
        """Raises what ``read_folds`` raises."""
        return cls(folder, *read_folds(folder))

    def trained_on(self, minutes: float) -> str:
        """What the card says of it, and of the time that the training took here."""
        return (
            f"{len(self.training)} contrast T1 slices with a tumour of folds 1 to 3, and "
            f"{len(self.choosing)} of fold 4, which decides when training stops, temperature, "
            "outline threshold and colour bar, of brain-tumour-cheng: 8-bit JPEG copies of "
            "figshare 1512427 with the author's patient-disjoint folds. Fold 5 was neither trained "
            f"nor chosen on. Training took {minutes:.0f} minutes on {os.cpu_count()} processor "
            "cores."
        )

    @property
    def measured_on(self) -> str:
        """What the figures of the card are of."""
        return (
            f"the {len(self.choosing)} slices of the choosing fold, of patients that training has "
            "not learnt from; the fold also decided when training stops, and the outline "
            "threshold. Probabilities of each half of its groups of slices are by the temperature "
            "that the other half sets, and both may hold slices of one patient"
        )

    @property
    def judged_on(self) -> str:
        """What the figures of the verdict are of."""
        return (
            "maps of present findings in every other group of slices of the choosing fold; the "
            "verdict was fitted on the rest of it, and both may hold slices of one patient"
        )

    @property
    def compared_on(self) -> str:
        """What the figures of the methods are of."""
        return (
            "maps of present findings in the half of the groups of slices of the choosing fold on "
            "which the methods were compared, and the verdict was fitted"
        )

    @property
    def opened_on(self) -> str:
        """What the figures of the open answers are of."""
        return (
            f"the {len(self.choosing)} slices of the choosing fold, one by one: each group of "
            "slices by thresholds of the others, which may hold slices of its patient"
        )


def train_brain(
    folder: Path,
    data_folder: Path,
    state: Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    out_of_scope: Path | None = None,
    progress: Progress = silent,
) -> BundleFolder:
    """Train on folds 1 to 3, choose on fold 4, measure, and write the bundle.

    ``state`` keeps how far the training has come; ``out_of_scope`` holds DICOM files that are no
    contrast T1 MR of the brain. Raises what ``Data.read`` raises.
    """
    data = Data.read(data_folder)
    slices, choosing = (collect(each, progress) for each in (data.training, data.choosing))
    fitted = fit(slices, choosing, steps=steps, seed=seed, folder=state, progress=progress)
    network = fitted.network
    draft = KerasModel(parse(manifest_text()), network)
    answers = list(ask(draft, data.choosing, progress))
    chosen = choose(answers, draft.manifest.explanation)
    reference = _reference(draft, data, slices, np.stack([a.features for a in answers]), progress)
    to_fit, to_test = MaskedCases(data.choosing, CHENG_MM).halves()
    found = compared(
        parse(manifest_text(chosen)),
        lambda candidate: KerasModel(candidate, network),
        attempts(to_fit, progress),
    )
    chosen = replace(chosen, plan=preferred(chosen.plan, found))
    model = KerasModel(parse(manifest_text(chosen)), network, reference)
    measured = measure(model, data.choosing, data.measured_on, out_of_scope, progress)
    trusted = trust(model, network, to_fit, to_test, progress)
    opened = open_answers(model, data.choosing, progress)
    chosen = replace(
        chosen,
        plan=chosen.plan.model_copy(update={"verdict": trusted.verdict, "check": trusted.check}),
        conformal=[each.target.conformal for each in opened],
    )
    measured = (
        *measured,
        Measured(trusted.figures, data.judged_on),
        Measured(together(opened), data.opened_on),
        *(Measured(hits, data.compared_on, name) for name, hits in by_method(found).items()),
    )
    text = manifest_text(chosen, measured, data.trained_on(fitted.minutes))
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / WEIGHTS
        network.save(weights)
        return _write(folder, weights, text, reference)


def measure_again(
    folder: Path,
    bundle: BundleFolder,
    data_folder: Path,
    *,
    out_of_scope: Path | None = None,
    progress: Progress = silent,
) -> BundleFolder:
    """Measure a trained bundle anew, and write it; weights, method, verdict and open answers stay,
    and what is said of the training.

    Raises what ``Data.read`` raises.
    """
    data, manifest = Data.read(data_folder), bundle.manifest
    (segment,) = manifest.segmentation.segments if manifest.segmentation else ()
    model = load_model(bundle)
    chosen = Chosen(
        temperature=manifest.targets[0].temperature,
        mask_threshold=segment.threshold,
        plan=manifest.explanation,
        conformal=[target.conformal for target in manifest.targets],
    )
    kept = [
        row
        for words in (data.judged_on, data.opened_on, data.compared_on)
        for row in _kept(manifest, words)
    ]
    measured = (*measure(model, data.choosing, data.measured_on, out_of_scope, progress), *kept)
    text = manifest_text(chosen, measured, manifest.card.training_data)
    return _write(folder, bundle.path / WEIGHTS, text, reference_of(bundle))


def _kept(manifest: ModelManifest, data: str) -> Iterator[Measured]:
    """What a card says of some data."""
    rows = [row for row in manifest.card.performance if row.data == data]
    for subgroup, group in groupby(rows, lambda row: row.subgroup):
        figures = {r.name: Figure(r.value, r.low, r.high, r.cases) for r in group}
        yield Measured(figures, data, subgroup)


def open_answers(model: Model, examples: Sequence[Example], progress: Progress) -> Sequence[Opened]:
    """Of each type, on slices that training has not seen; see ``left_open``."""
    cases = MaskedCases(examples, CHENG_MM)
    heard = hear(model, cases, partial(progress, "answers left open"))
    said = np.stack([each.probabilities for each in heard]).astype(np.float64)
    truth = np.stack([each.truth for each in heard])
    return [
        left_open(target, target, said[:, n], truth[:, n], patients_of(heard))
        for n, target in enumerate(model.manifest.targets)
    ]


def together(opened: Sequence[Opened]) -> Mapping[str, Figure]:
    """The figures of all types."""
    return {name: figure for each in opened for name, figure in each.figures.items()}


def average_mask(slices: Slices) -> FloatArray:
    """(160, 160): where tumours lie in the training slices."""
    mean = slices.masks.mean(axis=0, dtype=np.float64)[None].astype(np.float32) / 255
    return np.asarray(Grid.covering((STORED, STORED), (SIDE, SIDE)).sample(mean)[0])


def _reference(
    model: Model, data: Data, slices: Slices, held_out: FloatArray, progress: Progress
) -> Arrays:
    known = np.concatenate(list(_features(model, data.training[::THINNED], progress)))
    return {
        AVERAGE_MASK: average_mask(slices),
        **outliers.fit(known, held_out).arrays(),
    }


def _features(
    model: Model, examples: Sequence[Example], progress: Progress
) -> Iterator[FloatArray]:
    """(1, channels) of each example."""
    for done, each in enumerate(examples, 1):
        prepared = prepare(read_images(each, CHENG_MM), model.manifest)
        attribution = model.predict(prepared.values).attribution
        if attribution is not None:
            yield attribution.features
        progress("training features", done / len(examples))


def _write(folder: Path, weights: Path, manifest: str, reference: Arrays) -> BundleFolder:
    card = card_text(parse(manifest), INTERVALS, DECISION)
    return package_file(folder, weights, manifest, card, example(), reference)

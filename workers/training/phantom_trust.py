"""What the reference bundle knows of its own maps and certainty, fitted on phantoms.

A verdict is fitted on maps that hit and maps that miss. Those of the reference network hit; those
that miss are made by twins of it that learnt a mark instead of the lesion, and judged on a mark
that no fit saw.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.trust import Conformal, ExplanationCheck, VerdictPlan
from dicom_node.testing.phantom import Phantom
from explain import outliers
from explain.calibration import conformal
from workers.arrays import Arrays
from workers.asked import AVERAGE_MASK
from workers.findings import Case
from workers.keras_model import KerasModel
from workers.model import Model
from workers.prediction import answer, predict
from workers.preprocess import prepare
from workers.progress import Progress
from workers.steps.prepared import Prepared
from workers.training.evaluate import PROVENANCE, held_out_phantom
from workers.training.localise import Found, compared
from workers.training.masked import checked
from workers.training.measures import Figure
from workers.training.misled import Mark, corner_letter, edge_bar, inner_ring, marked, misled
from workers.training.shuffled import Lesson
from workers.training.slices import Slices, collect, source_images
from workers.training.trying import Judged, Tried, figures, fitted, judged, tried

COVERAGE = 0.95
CELL = 4
"""Pixels of a side of a cell of the average mask."""
SEEN_MARKS, UNSEEN_MARK = (edge_bar, inner_ring), corner_letter


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers of phantoms."""

    known: int
    """To learn what the training images look like; as many again are held out."""
    fitted: int
    """For the verdict: with a lesion, for the network itself; for each twin half as many."""
    tested: int
    """The same, for its figures."""
    studies: int
    """For the answers that a probability leaves open."""
    steps: int
    """That twins are misled by."""


@dataclass(frozen=True)
class Trusted:
    """What goes into the bundle, and onto its card."""

    reference: Arrays
    conformal: Conformal
    verdict: VerdictPlan | None
    """None where all maps hit, or none does: there is nothing to tell apart."""
    check: ExplanationCheck | None
    figures: Mapping[str, Figure]
    judged: Judged | None


def methods(
    manifest: ModelManifest,
    network: keras.Model,
    validation: Sequence[int],
    effort: Effort,
    progress: Progress,
) -> list[Found]:
    """How often each hits, on validation phantoms with a lesion; the best first."""

    def attempt(model: Model, count: int) -> list[Tried]:
        found: list[Tried] = []
        seeds = _ill(validation, min(count, effort.fitted))
        for done, seed in enumerate(seeds, 1):
            found += tries_of(model, seed, weighed=False)
            progress("methods compared", done / len(seeds))
        return found

    return compared(manifest, lambda candidate: KerasModel(candidate, network), attempt)


def trust(
    manifest: ModelManifest,
    network: keras.Model,
    seeds: tuple[Sequence[int], Sequence[int], Sequence[int]],
    effort: Effort,
    progress: Progress,
) -> Trusted:
    """``seeds``: of training, validation and test; only the figures come from the test."""
    training, validation, test = seeds
    slices = collect(training[: effort.known], manifest, progress)
    held_out = collect(validation[-effort.known :], manifest, progress)
    plain = KerasModel(manifest, network)
    known = outliers.fit(_features(plain, slices), _features(plain, held_out))
    reference = {**known.arrays(), AVERAGE_MASK: _average(slices)}
    model = KerasModel(manifest, network, reference)
    twins: dict[Mark, KerasModel] = {
        mark: KerasModel(manifest, misled(network, slices, mark, steps=effort.steps), reference)
        for mark in (*SEEN_MARKS, UNSEEN_MARK)
    }
    right = _tries(model, validation, effort.fitted, progress)
    missed = _missed(twins, SEEN_MARKS, validation, effort.fitted, progress)
    plan = fitted([*right, *missed])
    unseen = _tries(model, test, effort.tested, progress)
    marks = (*SEEN_MARKS, UNSEEN_MARK)
    strange = _missed(twins, marks, test, effort.tested, progress) if plan else []
    verdict = judged(plan, [*unseen, *strange]) if plan else None
    return Trusted(
        reference=reference,
        conformal=_conformal(model, validation[: effort.studies], progress),
        verdict=plan,
        check=_check(model, network, unseen, slices, progress) if unseen else None,
        figures=figures(unseen, verdict) if verdict else {},
        judged=verdict,
    )


def series(model: Model, seed: int, mark: Mark | None = None) -> tuple[Phantom, Prepared]:
    """A held-out phantom as the model sees it; with a mark in each slice, where one is given."""
    source = held_out_phantom(seed)
    prepared = prepare(source_images(source), model.manifest)
    if mark is not None:
        drawn = marked(prepared.values[..., 0], mark, np.random.default_rng(seed))
        prepared = replace(prepared, values=drawn[..., None])
    return source, prepared


def tries_of(
    model: Model, seed: int, mark: Mark | None = None, *, weighed: bool = True
) -> Iterator[Tried]:
    """The maps of one phantom's present findings."""
    source, prepared = series(model, seed, mark)
    patient = str(seed)
    return tried(model, prepared, source.lesion, PROVENANCE, patient=patient, weighed=weighed)


def _tries(model: KerasModel, seeds: Sequence[int], count: int, progress: Progress) -> list[Tried]:
    """Of phantoms with a lesion; every other one is marked, and a right model does not mind."""
    ill = _ill(seeds, count)
    marks = (None, edge_bar, None, inner_ring, None, corner_letter)
    found: list[Tried] = []
    for done, seed in enumerate(ill):
        found += tries_of(model, seed, marks[done % len(marks)])
        progress("maps that hit", (done + 1) / len(ill))
    return found


def _ill(seeds: Sequence[int], count: int) -> Sequence[int]:
    """Those of phantoms with a lesion, at most so many."""
    return [seed for seed in seeds if seed % 2 == 0][:count]


def _missed(
    twins: Mapping[Mark, KerasModel],
    marks: Sequence[Mark],
    seeds: Sequence[int],
    count: int,
    progress: Progress,
) -> list[Tried]:
    found: list[Tried] = []
    chosen = seeds[-(count // 2) :]
    for number, mark in enumerate(marks):
        for seed in chosen:
            found += tries_of(twins[mark], seed, mark)
        progress("maps that miss", (number + 1) / len(marks))
    return found


def _features(model: KerasModel, slices: Slices) -> FloatArray:
    """(slices, channels)."""
    size = model.manifest.input.batch
    parts = []
    for start in range(0, len(slices.images), size):
        batch = slices.images[start : start + size].astype(np.float32)[..., None]
        attribution = model.predict(batch).attribution
        if attribution is not None:
            parts.append(attribution.features)
    return np.concatenate(parts)


def _average(slices: Slices) -> FloatArray:
    """Where training lesions lie, in cells."""
    lesions = slices.masks[..., 1].astype(np.float32)
    mean = lesions[slices.labels > 0].mean(axis=0)
    cells = mean.shape[0] // CELL
    return np.asarray(mean.reshape(cells, CELL, cells, CELL).mean(axis=(1, 3)), np.float32)


def _conformal(model: KerasModel, seeds: Sequence[int], progress: Progress) -> Conformal:
    """On the probability of each study: that of its likeliest finding."""
    said, ill = [], []
    for done, seed in enumerate(seeds):
        source, prepared = series(model, seed)
        prediction, _ = predict(model, prepared)
        case = Case(model.manifest, PROVENANCE, prepared.source, prediction)
        said.append(max(finding.probability for finding in answer(case).findings))
        ill.append(bool(source.lesions))
        progress("answers left open", (done + 1) / len(seeds))
    plan = conformal(np.array(said), np.array(ill), COVERAGE)
    return plan.model_copy(
        update={"present": round(plan.present, 4), "absent": round(plan.absent, 4)}
    )


def _check(
    model: KerasModel,
    network: keras.Model,
    unseen: Sequence[Tried],
    slices: Slices,
    progress: Progress,
) -> ExplanationCheck:
    lesson = Lesson(slices.images.astype(np.float32)[..., None], slices.labels[:, None] > 0)
    return checked(model, network, unseen, lesson, progress)

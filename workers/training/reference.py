"""What a bundle knows of its cases, for ``reference.npz``: how they look, and where masks lie."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelInput
from explain import outliers
from explain.outliers import Known, score
from workers.arrays import Arrays
from workers.asked import AVERAGE_MASK
from workers.items import Items, taken
from workers.model import Model
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.evaluation.scope import LIMIT, held_out
from workers.training.masked import Cases, showing
from workers.training.measures import Figure, share_of

ITEMS = 16
"""Of a case, evenly drawn: its neighbours are alike."""
FEWEST = 2 * outliers.NEAREST
"""Items of each half from which on it is learnt what the images look like."""
ALARMS = "Images in scope that are flagged as out of it"


@dataclass(frozen=True)
class Reference:
    """What goes into ``reference.npz``, and what is said of it."""

    arrays: Arrays
    note: str
    """What the images look like was learnt, or why it was not."""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def reference(model: Model, to_fit: Cases, to_test: Cases, progress: Progress) -> Reference:
    """Learnt of all cases of one half, with masks or without; the other sets the limit."""
    show = partial(progress, "what is known")
    known, others = (list(_features(model, half, show)) for half in (to_fit, to_test))
    masks = _average(model, to_fit, show)
    if not known or not others:
        return Reference(masks, NO_FEATURES)
    learnt, limit = np.concatenate(known), np.concatenate(others)
    if min(len(learnt), len(limit)) < FEWEST:
        return Reference(masks, TOO_FEW.format(len(learnt), len(limit), FEWEST))
    found = outliers.fit(learnt, limit)
    arrays = {**masks, **found.arrays()}
    return Reference(arrays, LEARNT.format(len(learnt), len(limit)), _alarms(found, others))


def _features(model: Model, cases: Cases, show: Callable[[float], None]) -> Iterator[FloatArray]:
    """(items, channels) of each case; nothing where the model gives none."""
    plan = model.manifest.input
    for _, images in cases.images(plan, show):
        found = list(_of_case(model, plan, images))
        if found:
            yield np.concatenate(found)


def _of_case(model: Model, plan: ModelInput, images: SourceImages) -> Iterator[FloatArray]:
    prepared = prepare(images, model.manifest)
    items = Items.of(plan, prepared)
    count = len(items.frames)
    chosen = np.unique(np.linspace(0, count - 1, min(count, ITEMS)).round().astype(int))
    for start in range(0, len(chosen), plan.batch):
        batch = items.stacked(prepared.values, chosen[start : start + plan.batch])
        output = model.predict(taken(batch, plan.unit))
        if output.features is not None:
            yield output.features


def _average(model: Model, cases: Cases, show: Callable[[float], None]) -> Arrays:
    """The mean mask of what shows something, on the model's input; nothing without masks.

    (rows, columns), or (views, rows, columns).
    """
    plan, masks = model.manifest.input, []
    for each in cases.read(plan, show):
        prepared = prepare(each.images, model.manifest)
        items = Items.of(plan, prepared)
        on_model = prepared.grid.sample(each.mask.astype(np.float32))
        if plan.unit == "views":
            chosen = np.flatnonzero(showing(items, prepared, each.mask))
            masks.append(on_model[items.frames[chosen]])
        else:
            masks.append(on_model[on_model.max(axis=(1, 2)) >= 0.5])
    together = np.concatenate(masks) if masks else np.zeros(0)
    return {AVERAGE_MASK: together.mean(axis=0)} if len(together) else {}


def _alarms(known: Known, cases: list[FloatArray]) -> Mapping[str, Figure]:
    """Of the half that sets the limit: every other case by the limit of the rest."""
    halves = [[score(known, each) for each in cases[start::2]] for start in (0, 1)]
    if not all(halves):
        return {}
    within = held_out(*map(np.concatenate, halves))
    counts = [len(each) for half in halves for each in half]
    return {ALARMS: share_of(within > LIMIT, np.repeat(np.arange(len(counts)), counts))}


LEARNT = (
    "What the images look like was learnt of {} of them, and the limit set by {} others: images "
    "that are farther from them are flagged"
)
NO_FEATURES = (
    "No images will be flagged as unlike these: the head reads no single layer with rows and "
    "columns; name one as explanation.layer"
)
TOO_FEW = (
    "No images will be flagged as unlike these: {} to learn of and {} to set the limit by are too "
    "few, {} of each are needed"
)

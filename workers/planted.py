"""Does a map go where a lesion is put? One of known place, in CT phantoms or in given images.

What is put there must turn the answer to Present, or its map has no reason to go there: then
nothing is tested, and that is said.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from dicom_node.doctor import Check, Health
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import DicomNodeError
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.outputs import Regression, Segmentation
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study
from explain.projection import Grid
from explain.region import strongest
from workers.asked import AVERAGE_MASK, CERTAIN
from workers.items import Items, taken
from workers.model import Model
from workers.preprocess import prepare
from workers.steps.prepared import Prepared
from workers.training.slices import source_images

NAME = "explanations, planted lesion"
RISES = 1.0
"""Log-odds by which an answer must rise to Present: of what was there before, a map need not
show the rest."""
SEEDS = range(7_100_000, 7_100_006)
"""Of phantoms that training never sees."""
SLICES, SIDE, SPACING_MM = 7, 128, 7.0
PLACES = ((0.3, 0.3), (0.3, 0.7), (0.7, 0.3), (0.7, 0.7))
"""Of patches: parts of rows and columns, none of them in the middle."""
RADIUS = 1 / 8
"""Of a patch, in the shorter side: as large as a cell of most layers."""
IMAGES = 2
BY_PLANE = 4
"""Axes of one target's maps with an axis of planes or views."""


@dataclass(frozen=True)
class Pair:
    """One item as the model reads it, without and with something planted."""

    items: FloatArray
    """(2, [planes or views,] rows, columns, channels)."""
    mask: BoolArray
    """(rows, columns): where it is."""


@dataclass(frozen=True, slots=True)
class Pointed:
    """Whose place lies in what was planted."""

    map: bool
    before: bool
    """Of the map without it."""
    centre: bool
    average: bool


def planted(model: Model, images: SourceImages) -> Check:
    """For ``dicom-worker check``: phantoms where the model reads CT and calls them; else bright
    patches in ``images``."""
    if model.explainer() is None or isinstance(model.manifest.explained, Regression):
        return Check(NAME, Health.NOTE, "not tested: a number is of no single place")
    for what, made in (
        ("lesions in CT phantoms", _phantoms(model)),
        ("bright patches in these images", _patches(model, images)),
    ):
        pairs = list(made)
        found = [each for each in (_pointed(model, pair) for pair in pairs) if each]
        if found:
            return _told(f"{len(found)} of {len(pairs)} {what}", found)
    nothing = "not tested: no lesion and no patch that was planted turns its answer to Present"
    return Check(NAME, Health.NOTE, nothing, "give --cases: on them it is measured")


def _told(what: str, found: Sequence[Pointed]) -> Check:
    names = ("map", "before", "centre", "average")
    hits, *others = (sum(getattr(each, name) for each in found) for name in names)
    before, centre, average = others
    passed = 2 * hits >= len(found) and hits > max(others)
    return Check(
        NAME,
        Health.OK if passed else Health.NOTE,
        f"{what} turn the answer to Present: the map's place lies in {hits} of them, that of the "
        f"map without in {before}; the centre in {centre}, the average mask's peak in {average}",
        "" if passed else "its place is not where the answer comes from: try another method",
    )


def _phantoms(model: Model) -> Iterator[Pair]:
    """The item that shows most of a lesion, without and with it."""
    manifest = model.manifest
    if "CT" not in manifest.selection.modality or manifest.input.unit == "views":
        return
    for seed in SEEDS:
        with suppress(DicomNodeError):
            (well, _), (ill, lesion) = (_phantom(model, seed, count) for count in (0, 1))
            items = Items.of(manifest.input, ill)
            if not ill.keeps_frames:
                return
            on_model = ill.grid.sample(lesion.astype(np.float32)) >= 0.5
            item = int(on_model[items.frames].sum(axis=(1, 2, 3)).argmax())
            mask = on_model[items.frames[item]].any(axis=0)
            both = [items.stacked(each.values, np.array([item])) for each in (well, ill)]
            if mask.any():
                yield Pair(np.concatenate(both), mask)


def _phantom(model: Model, seed: int, lesions: int) -> tuple[Prepared, BoolArray]:
    source = phantom(seed, lesions=lesions, slices=SLICES, size=SIDE, slice_spacing_mm=SPACING_MM)
    headers = tuple(make_study(source, origin_mm=(0.0, 0.0, 0.0)))
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    images = replace(source_images(source), datasets=headers, frames=frames)
    return prepare(images, model.manifest), source.lesion


def _patches(model: Model, images: SourceImages) -> Iterator[Pair]:
    """A disc as bright as the brightest pixel, in every plane or view of an item."""
    prepared = prepare(images, model.manifest)
    items = Items.of(model.manifest.input, prepared)
    count = len(items.frames)
    for item in np.unique(np.linspace(0, count - 1, IMAGES + 2).round().astype(int)[1:-1]):
        given = items.stacked(prepared.values, np.array([item]))
        rows, columns = given.shape[-3:-1]
        high = given.max(axis=tuple(range(given.ndim - 1)))
        for place in PLACES:
            mask = _disc((rows, columns), place)
            yield Pair(np.concatenate([given, np.where(mask[..., None], high, given)]), mask)


def _disc(size: tuple[int, int], place: tuple[float, float]) -> BoolArray:
    rows, columns = np.indices(size)
    away = np.hypot(rows - place[0] * size[0], columns - place[1] * size[1])
    return np.asarray(away <= RADIUS * min(size))


def _pointed(model: Model, pair: Pair) -> Pointed | None:
    """Of the target that rises most; none where none does, or not to Present."""
    scores = _scores(model, pair.items)
    called = scores[1] >= logit(_operating_points(model))
    rises = np.where(called, scores[1] - scores[0], 0)
    target = int(rises.argmax())
    if rises[target] < RISES:
        return None
    without, planted_in = _maps(model, pair.items, target)
    rows, columns = pair.mask.shape
    return Pointed(
        map=_in(pair.mask, planted_in, model),
        before=_in(pair.mask, without, model),
        centre=bool(pair.mask[rows // 2, columns // 2]),
        average=_average(model, pair.mask),
    )


def _operating_points(model: Model) -> list[float]:
    plan = model.manifest.explained
    asked = plan.segments if isinstance(plan, Segmentation) else model.manifest.targets
    return [each.threshold for each in asked]


def _scores(model: Model, items: FloatArray) -> NDArray[np.float64]:
    """(items, targets): log-odds of the calibrated probability; the highest of boxes or pixels."""
    plan = model.manifest.explained
    if plan is None:
        raise ValueError(f"{model.manifest.id} is not explained")
    said = model.predict(taken(items, model.manifest.input.unit)).heads[plan.kind]
    outlines = isinstance(plan, Segmentation)
    likely = model.mask_probabilities(said) if outlines else model.probabilities(said)
    cells = likely.reshape(len(likely), -1, likely.shape[-1])[..., : len(plan.labels)]
    most = cells.astype(np.float64).max(axis=1)
    return np.asarray(logit(np.clip(most, CERTAIN, 1 - CERTAIN)))


def _maps(model: Model, items: FloatArray, target: int) -> FloatArray:
    """(items, rows, columns) of the model's input: planes and views together."""
    explainer = model.explainer()
    if explainer is None:
        raise ValueError(f"{model.manifest.id} is not explained")
    cells = explainer.explain(taken(items, model.manifest.input.unit), [target]).maps[:, 0]
    flat = cells.sum(axis=1) if cells.ndim == BY_PLANE else cells
    size = (items.shape[-3], items.shape[-2])
    return Grid.covering(size, (flat.shape[1], flat.shape[2])).project(flat)


def _in(mask: BoolArray, values: FloatArray, model: Model) -> bool:
    """Whether the place that a map names lies in a mask; an empty map names none."""
    if not values.any():
        return False
    _, (row, column) = strongest(values, model.manifest.explanation.region_level)
    return bool(mask[round(row), round(column)])


def _average(model: Model, mask: BoolArray) -> bool:
    average = model.reference.get(AVERAGE_MASK)
    if average is None:
        return False
    whole = average.reshape(-1, *average.shape[-2:]).sum(axis=0)[None].astype(np.float32)
    grid = Grid.covering(mask.shape, whole.shape[1:])
    return bool(mask.flat[grid.project(whole)[0].argmax()])

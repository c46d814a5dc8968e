"""Detection: a box around each insert. Each cell of a grid gives a logit and four distances."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import Answer, Finding, Presence
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.layers import convolution, encoder
from workers.training.tasks.planted import Places, Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-boxes"
CELL = 4
"""Pixels."""
SIDE = 64
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom insert finder", task="detection")
    + """
[input]
shape = [64, 64, 1]

[[outputs]]
kind = "detection"
layer = "scores"
boxes = "boxes"
"""
    + phantoms.target("Insert", "INSERT", "Insert")
    + """
[explanation]
$method
full_scale = $full_scale
$trust"""
    + phantoms.CARD.format(what="detectors")
)


def build(manifest: ModelManifest) -> keras.Model:
    """Scores (batch, cells, 1) and boxes (batch, cells, 4) of a grid without anchors."""
    image = keras.Input(manifest.input.shape, name="image")
    features = convolution(encoder(image, (8, 16, 32)), 32)
    count = (manifest.input.shape[0] // CELL) ** 2
    scores = layers.Reshape((count, 1), name="scores")(layers.Conv2D(1, 1)(features))
    return keras.Model(image, [scores, _boxes(features, count)])


def _boxes(features: KerasTensor, count: int) -> KerasTensor:
    """From distances to the edges, above 0, to the edges themselves."""
    distances = layers.Reshape((count, 4))(layers.Conv2D(4, 1, activation="softplus")(features))
    away = ops.multiply(distances, np.array([[-CELL, -CELL, CELL, CELL]], np.float32))
    return layers.Activation("linear", name="boxes")(ops.add(away, centers(count)))


def centers(count: int) -> FloatArray:
    """(cells, 4): row and column of the middle of each cell, twice."""
    side = round(count**0.5)
    rows, columns = np.divmod(np.arange(count), side)
    middle = (np.stack([rows, columns, rows, columns], axis=-1) + 0.5) * CELL
    return middle.astype(np.float32)


def answers(planted: Planted, prepared: Prepared, items: Items) -> list[FloatArray]:
    """What ``wanted_of`` says of its inserts."""
    masks = phantoms.of(planted).phantom.lesions
    drawn = [prepared.grid.sample(mask[:1].astype(np.float32))[0] >= 0.5 for mask in masks]
    wanted = wanted_of(drawn, prepared.values.shape[1])
    return [np.repeat(each[None], len(items.frames), axis=0) for each in wanted]


def wanted_of(masks: Sequence[BoolArray], side: int = SIDE) -> list[FloatArray]:
    """Whether each cell is near the middle of a mask; the edges of that, and a weight."""
    count = (side // CELL) ** 2
    there, wanted = np.zeros((count, 1), np.float32), np.zeros((count, 5), np.float32)
    for mask in masks:
        edges = _edges(mask)
        middle, half = (edges[:2] + edges[2:]) / 2, (edges[2:] - edges[:2]) / 2
        near = (np.abs(centers(count)[:, :2] - middle) <= np.maximum(half * 0.5, 2.1)).all(axis=1)
        there[near], wanted[near] = 1, [*edges, 1]
    return [there, wanted]


def _edges(mask: BoolArray) -> FloatArray:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


def box_loss(wanted: KerasTensor, said: KerasTensor) -> KerasTensor:
    """Mean distance of the edges in pixels, where there is an insert."""
    weight = wanted[..., 4:]
    missed = ops.sum(ops.abs(wanted[..., :4] - said) * weight)
    return missed / (4 * ops.sum(weight) + 1e-3) / CELL


def score_loss(wanted: KerasTensor, said: KerasTensor) -> KerasTensor:
    """Cross entropy; cells with an insert, few of them, count more."""
    each = ops.softplus(said) - wanted * said
    return ops.mean(each * (1 + 8 * wanted))


def own_insert(planted: Planted, answer: Answer) -> BoolArray:
    """(slices, rows, columns): the insert whose middle is nearest to that of the answer's box."""
    masks = phantoms.of(planted).phantom.lesions
    if answer.box is None or not masks:
        return np.zeros(planted.images.pixels.shape, bool)
    middle = np.array(answer.box.center[1:])
    return min(masks, key=lambda mask: np.hypot(*(np.argwhere(mask[0]).mean(axis=0) - middle)))


def right(planted: Planted, analysis: Analysis) -> bool:
    """As many boxes as inserts, each with its middle in an insert of its own."""
    masks = phantoms.of(planted).phantom.lesions
    found = [f for f in analysis.findings if f.presence is Presence.PRESENT]
    hit = {n for finding in found for n, mask in enumerate(masks) if _hits(finding, mask)}
    return len(found) == len(masks) == len(hit)


def _hits(finding: Finding, mask: np.ndarray) -> bool:
    if finding.box is None:
        return False
    frame, row, column = finding.box.center
    return bool(mask[int(frame), round(row), round(column)])


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=phantoms.planting(
            lambda rng: ("disc",) * int(rng.integers(3)) + ("square",) * int(rng.integers(2))
        ),
        answers=answers,
        losses=[score_loss, box_loss],
        right=right,
        question="Phantoms with exactly the right inserts found",
        examples=600,
        epochs=15,
        explanation=ExplanationPlan(method="hirescam", layer="features", full_scale=1.0),
        places=Places(
            of=own_insert,
            shown=lambda planted: phantoms.of(planted).phantom.lesion,
            marked=lambda mask: wanted_of([mask]),
        ),
    )
}

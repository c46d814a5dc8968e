"""A sequence of slices: one answer for the whole series, and which slices mattered."""

import keras
import numpy as np
from keras import layers, ops

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.layers import encoder
from workers.training.tasks.planted import Places, Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-sequence"
SLICES = 12
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom sphere in a series", least=SLICES)
    + f"""
[input]
unit = "sequence"
shape = [{SLICES}, 64, 64, 1]
batch = 1

[[outputs]]
kind = "classification"
layer = "sphere"
"""
    + phantoms.target("Sphere", "INSERT_SPHERE", "Sphere insert")
    + """
[explanation]
$method
full_scale = $full_scale
$trust"""
    + phantoms.CARD.format(what="models of slice sequences")
)


def build(manifest: ModelManifest) -> keras.Model:
    """The same convolutions for each slice, and a recurrent network over them."""
    _, *plane = manifest.input.shape
    image = keras.Input(plane)
    convolutions = keras.Model(image, encoder(image, (8, 16, 24)))
    series = keras.Input(manifest.input.shape, name="series")
    features = layers.TimeDistributed(convolutions, name="features")(series)
    slices = ops.max(features, axis=(2, 3))
    read = layers.GRU(16, return_sequences=True)(slices)
    strongest = layers.GlobalMaxPooling1D()(read)
    return keras.Model(series, layers.Dense(1, activation="sigmoid", name="sphere")(strongest))


def answers(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """1 where there is a sphere."""
    there = float(phantoms.sphere(planted).any())
    return [np.full((len(items.frames), 1), there, np.float32)]


def right(planted: Planted, analysis: Analysis) -> bool:
    """The right answer; where there is a sphere, in a key slice that shows it."""
    mask = phantoms.sphere(planted)
    (finding,) = analysis.findings
    if not mask.any():
        return finding.presence is Presence.ABSENT
    return finding.presence is Presence.PRESENT and bool(mask[finding.frame].any())


def _inserts(rng: np.random.Generator) -> tuple[str, ...]:
    return ("sphere",) if rng.random() < 0.5 else ()


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=phantoms.planting(_inserts, slices=16, sizes=(64,)),
        answers=answers,
        losses=["binary_crossentropy"],
        right=right,
        question="Series with the right answer, and a key slice that shows the sphere",
        examples=200,
        epochs=12,
        batch=8,
        checks=60,
        explanation=ExplanationPlan(method="gradcam", layer="features", full_scale=1.0),
        places=Places(of=lambda planted, _: phantoms.sphere(planted), shown=phantoms.sphere),
    )
}

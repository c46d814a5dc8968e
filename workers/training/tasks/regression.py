"""Regression: the diameter of the cylinder, a number with a unit."""

import keras
import numpy as np
from keras import layers

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.layers import encoder
from workers.training.tasks.planted import Places, Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-diameter"
TOLERANCE_MM = 6.0
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom diameter", task="regression")
    + f"""
[input]
shape = [64, 64, 1]

[[outputs]]
kind = "regression"
layer = "diameter"

[[outputs.quantities]]
label = "Diameter"
concept = {{ value = "81827009", scheme = "SCT", meaning = "Diameter" }}
unit = {{ value = "mm", scheme = "UCUM", meaning = "mm" }}
finding = {phantoms.PHANTOM}
category = {phantoms.OBJECT}
low = 70
high = 130

[explanation]
$method
full_scale = $full_scale # mm
$trust"""
    + phantoms.CARD.format(what="regression models")
)


def build(manifest: ModelManifest) -> keras.Model:
    """Convolutions, and their mean as a number in mm."""
    image = keras.Input(manifest.input.shape, name="image")
    pooled = layers.GlobalAveragePooling2D()(encoder(image))
    part = layers.Dense(1)(pooled)
    return keras.Model(image, layers.Rescaling(30.0, 100.0, name="diameter")(part))


def answers(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """The diameter in mm."""
    return [np.full((len(items.frames), 1), phantoms.of(planted).diameter_mm, np.float32)]


def body(planted: Planted) -> BoolArray:
    """(slices, rows, columns): the cylinder."""
    return phantoms.of(planted).phantom.body


def right(planted: Planted, analysis: Analysis) -> bool:
    """Within the tolerance."""
    (estimate,) = analysis.estimates
    return abs(estimate.measurements[0].value - phantoms.of(planted).diameter_mm) <= TOLERANCE_MM


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=phantoms.planting(
            lambda rng: ("disc",) * int(rng.integers(2)), slices=2, roaming=True
        ),
        answers=answers,
        losses=[lambda wanted, said: keras.ops.mean(keras.ops.abs(wanted - said)) / 30],
        right=right,
        question=f"Diameters within {TOLERANCE_MM:g} mm",
        examples=400,
        epochs=15,
        explanation=ExplanationPlan(method="gradcam", full_scale=1.0),
        places=Places(of=lambda planted, _: body(planted), shown=body),
    )
}

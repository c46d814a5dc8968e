"""Image to image: noise is taken away, and the picture returns as a series of its own."""

import keras
import numpy as np
from keras import layers

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ModelManifest
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.planted import Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-denoise"
NOISE_HU = 40.0
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom denoiser", task="image")
    + """
[input]
shape = [64, 64, 1]

[[outputs]]
kind = "image"
layer = "denoised"
derivation = { value = "113087", scheme = "DCM", meaning = "Smoothing" }
description = "AI denoised"

[explanation]
method = "none"
"""
    + phantoms.CARD.format(what="models that make images")
)


def build(manifest: ModelManifest) -> keras.Model:
    """Learns what to subtract."""
    image = keras.Input(manifest.input.shape, name="image")
    values = image
    for _ in range(4):
        values = layers.Conv2D(16, 3, padding="same", activation="relu")(values)
    noise = layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(values)
    return keras.Model(image, layers.Add(name="denoised")([image, noise]))


def answers(planted: Planted, prepared: Prepared, _: Items) -> list[FloatArray]:
    """The phantom without noise, as its window shows it."""
    clean = prepared.grid.sample(phantoms.of(planted).clean_hu)
    return [np.asarray(np.clip((clean + 160) / 400, 0, 1)[..., None], np.float32)]


def right(planted: Planted, analysis: Analysis) -> bool:
    """Half of the noise in the cylinder is gone."""
    derived = analysis.prediction.derived
    if derived is None:
        return False
    made = phantoms.of(planted)
    inside = made.phantom.body
    before = np.std((analysis.images.pixels - made.clean_hu)[inside])
    return bool(np.std((derived.pixels - made.clean_hu)[inside]) <= 0.5 * before)


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=phantoms.planting(
            lambda rng: ("disc", "ring")[: int(rng.integers(3))],
            noise_hu=NOISE_HU,
            sizes=(64,),
        ),
        answers=answers,
        losses=["mse"],
        right=right,
        question="Phantoms with half of their noise or less left",
        examples=200,
        epochs=30,
        checks=50,
    )
}

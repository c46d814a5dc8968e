"""Segmentation in three dimensions: a U-Net that reads blocks of slices, and volumes in ml."""

import keras
import numpy as np
from keras import KerasTensor, layers

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.measures import dice
from workers.training.tasks import phantoms
from workers.training.tasks.planted import Places, Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-spheres"
SLICES = 8
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom sphere outlines", task="segmentation", least=3)
    + f"""
[input]
unit = "volume"
shape = [{SLICES}, 64, 64, 1]
batch = 4

[[outputs]]
kind = "segmentation"
layer = "outlines"

[[outputs.segments]]
label = "Sphere"
category = {phantoms.OBJECT}
type = {{ value = "INSERT_SPHERE", scheme = "99DICOMNODE", meaning = "Sphere insert" }}
color = [80, 200, 255]

[explanation]
$method
full_scale = $full_scale
$trust"""
    + phantoms.CARD.format(what="models of volumes")
)


def build(manifest: ModelManifest) -> keras.Model:
    """Two scales, 3 × 3 × 3 convolutions, one logit a voxel."""
    block = keras.Input(manifest.input.shape, name="block")
    fine = _conv(_conv(block, 8), 8)
    coarse = _conv(_conv(layers.MaxPooling3D()(fine), 16), 16)
    deep = _conv(layers.MaxPooling3D()(coarse), 24)
    middle = _conv(layers.Concatenate()([layers.UpSampling3D()(deep), coarse]), 16)
    joined = _conv(layers.Concatenate()([layers.UpSampling3D()(middle), fine]), 8)
    return keras.Model(block, layers.Conv3D(1, 1, activation="sigmoid", name="outlines")(joined))


def _conv(values: KerasTensor, width: int) -> KerasTensor:
    values = layers.Conv3D(width, 3, padding="same", use_bias=False)(values)
    return layers.ReLU()(layers.BatchNormalization()(values))


def answers(planted: Planted, prepared: Prepared, items: Items) -> list[FloatArray]:
    """Which part of each voxel is sphere."""
    mask = prepared.grid.sample(phantoms.sphere(planted).astype(np.float32))[..., None]
    return [mask[items.frames]]


def right(planted: Planted, analysis: Analysis) -> bool:
    """A Dice of 0.8 or more; no segment where there is no sphere."""
    masks = [segment.mask for segment in analysis.segments]
    truth = phantoms.sphere(planted)
    return dice(masks[0], truth) >= 0.8 if masks else not truth.any()


def _inserts(rng: np.random.Generator) -> tuple[str, ...]:
    rods = ("disc",) * int(rng.integers(2))
    return (*rods, "sphere") if rng.random() < 0.8 else rods


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=phantoms.planting(_inserts, slices=14, sizes=(64,)),
        answers=answers,
        losses=["binary_crossentropy"],
        right=right,
        question="Volumes with a Dice of 0.8 or more",
        examples=60,
        epochs=15,
        batch=4,
        checks=40,
        explanation=ExplanationPlan(method="layercam", full_scale=1.0),  # of its bottleneck
        places=Places(
            of=lambda planted, _: phantoms.sphere(planted),
            shown=phantoms.sphere,
            marked=lambda mask: [mask[..., None].astype(np.float32)],
        ),
    )
}

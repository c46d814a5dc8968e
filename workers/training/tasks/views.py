"""Several views at once: a mass is one where both views of a breast show it."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from dicom_node.testing.mammogram import VIEWS, breast_and_mass, make_mammograms
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.layers import encoder
from workers.training.tasks.planted import TEST, Places, Planted
from workers.training.tasks.recipe import Recipe

NAME = "qa-views"
HEAD = phantoms.HEAD.format(
    name=NAME,
    title="Phantom mass in two views",
    task="classification",
    modality="MG",
    images='pick = "all"',
)
STEPS = """
[[preprocess]]
step = "window"
center = 2048
width = 4096

[[preprocess]]
step = "resize"
rows = 48
columns = 36
"""
MANIFEST = f"""{HEAD}{STEPS}
[input]
unit = "views"
shape = [48, 36, 1]

[[input.views]]
name = "CC"
rules = [{{ keyword = "ViewPosition", equals = "CC" }}]

[[input.views]]
name = "MLO"
rules = [{{ keyword = "ViewPosition", equals = "MLO" }}]

[[outputs]]
kind = "classification"
layer = "mass"

[[outputs.targets]]
label = "Mass"
finding = {{ value = "4147007", scheme = "SCT", meaning = "Mass" }}
category = {{ value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }}
site = {{ value = "76752008", scheme = "SCT", meaning = "Breast" }}
threshold = 0.5

[explanation]
$method
full_scale = $full_scale
$trust""" + phantoms.CARD.format(what="models of several views").replace(
    "cylinders of water with simple inserts", "half ellipses with bright blobs"
)


def build(manifest: ModelManifest) -> keras.Model:
    """The same convolutions for each view; the views are joined before the answer."""
    shape = manifest.input.shape
    image = keras.Input(shape)
    convolutions = keras.Model(image, encoder(image, (8, 16, 24)))
    views = [keras.Input(shape, name=name) for name in VIEWS]
    features = layers.TimeDistributed(convolutions, name="features")(ops.stack(views, axis=1))
    strongest = layers.Flatten()(ops.max(features, axis=(2, 3)))
    joined = layers.Dense(16, activation="relu")(strongest)
    return keras.Model(views, layers.Dense(1, activation="sigmoid", name="mass")(joined))


@dataclass(frozen=True, slots=True)
class Breast:
    """What its views show."""

    where: BoolArray
    """(views, rows, columns): the blob."""

    @property
    def mass(self) -> bool:
        """Whether both views show it."""
        return bool(self.where.any(axis=(1, 2)).all())


def plant(seed: int) -> Planted:
    """One breast; a blob in both views, in one of them, or in none."""
    rng = np.random.default_rng([seed, 3])
    there = [bool(b) for b in ((1, 1), (1, 1), (1, 0), (0, 1), (0, 0))[rng.integers(5)]]
    shown = zip(VIEWS, there, strict=True)
    drawn = [breast_and_mass(seed, view, mass=mass) for view, mass in shown]
    views = zip(VIEWS, drawn, strict=True)
    headers = tuple(make_mammograms([("L", view, pixels) for view, (pixels, _) in views]))
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    pixels, where = (np.stack(each) for each in zip(*drawn, strict=True))
    return Planted(SourceImages(headers, frames, pixels.astype(np.float32)), Breast(where))


def masses(planted: Planted) -> BoolArray:
    """(views, rows, columns): the blob, also where one view alone shows it."""
    where: BoolArray = planted.truth.where
    return where


def answers(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """1 where both views show it."""
    return [np.full((len(items.frames), 1), float(planted.truth.mass), np.float32)]


def right(planted: Planted, analysis: Analysis) -> bool:
    """The right answer for the breast."""
    (finding,) = analysis.findings
    return (finding.presence is Presence.PRESENT) == bool(planted.truth.mass)


RECIPES = {
    NAME: Recipe(
        manifest=MANIFEST,
        build=build,
        plant=plant,
        answers=answers,
        losses=["binary_crossentropy"],
        right=right,
        question="Breasts with the right answer",
        examples=600,
        epochs=15,
        example=TEST + 2,
        mirrored=True,
        explanation=ExplanationPlan(method="gradcam", layer="features", full_scale=1.0),
        places=Places(of=lambda planted, _: masses(planted), shown=masses),
    )
}

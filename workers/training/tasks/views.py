"""Several views at once: a mass is one where both views of a breast show it."""

import keras
import numpy as np
from keras import layers, ops

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.testing.mammogram import VIEWS, breast, make_mammograms
from workers.items import Items
from workers.steps.prepared import Prepared
from workers.training.tasks import phantoms
from workers.training.tasks.layers import encoder
from workers.training.tasks.recipe import TEST, Planted, Recipe

NAME = "qa-views"
HEAD = phantoms.HEAD.format(
    name=NAME, title="Phantom mass in two views", modality="MG", images='pick = "all"'
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
method = "gradcam"
layer = "features" # (batch, views, rows, columns, channels): a map for each view
full_scale = $full_scale
""" + phantoms.CARD.format(what="models of several views").replace(
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


def plant(seed: int) -> Planted:
    """One breast; a blob in both views, in one of them, or in none."""
    rng = np.random.default_rng([seed, 3])
    there = [bool(b) for b in ((1, 1), (1, 1), (1, 0), (0, 1), (0, 0))[rng.integers(5)]]
    shown = zip(VIEWS, there, strict=True)
    images = [("L", view, breast(seed, view, mass=mass)) for view, mass in shown]
    headers = tuple(make_mammograms(images))
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    pixels = np.stack([pixels for _, _, pixels in images]).astype(np.float32)
    return Planted(SourceImages(headers, frames, pixels), all(there))


def answers(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """1 where both views show it."""
    return [np.full((len(items.frames), 1), float(planted.truth), np.float32)]


def right(planted: Planted, analysis: Analysis) -> bool:
    """The right answer for the breast."""
    (finding,) = analysis.findings
    return (finding.presence is Presence.PRESENT) == bool(planted.truth)


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
    )
}

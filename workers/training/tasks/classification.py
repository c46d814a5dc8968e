"""Classification: the kind of the insert (multi-class), and all kinds that are there (multi-label).

The transformer answers the first question, too.
"""

from dataclasses import replace

import keras
import numpy as np
from keras import KerasTensor, layers, ops

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

ONE, SEVERAL, TRANSFORMER = "qa-insert", "qa-inserts", "qa-transformer"
KINDS = ("disc", "ring", "square")
WIDTH, HEADS, BLOCKS = 32, 4, 2


def _manifest(name: str, title: str, what: str, exclusive: str) -> str:
    targets = "".join(
        phantoms.target(kind.title(), f"INSERT_{kind.upper()}", f"{kind.title()} insert")
        for kind in KINDS
    )
    return (
        phantoms.manifest_head(name, title)
        + f"""
[input]
shape = [64, 64, 1]

[[outputs]]
kind = "classification"
layer = "kinds"
{exclusive}{targets}
[explanation]
$method
full_scale = $full_scale
$trust"""
        + phantoms.CARD.format(what=what)
    )


def build_one(manifest: ModelManifest) -> keras.Model:
    """Convolutions, their mean, and a softmax over the kinds and none of them."""
    image = keras.Input(manifest.input.shape, name="image")
    return _classifier(image, encoder(image), "softmax", len(KINDS) + 1)


def build_several(manifest: ModelManifest) -> keras.Model:
    """The same with a sigmoid for each kind."""
    image = keras.Input(manifest.input.shape, name="image")
    return _classifier(image, encoder(image), "sigmoid", len(KINDS))


def build_transformer(manifest: ModelManifest) -> keras.Model:
    """Cells of a convolutional stem as tokens with learned places, and attention between them.

    The tokens return to their rows and columns before their mean: that layer is explained.
    """
    image = keras.Input(manifest.input.shape, name="image")
    stem = encoder(image)
    _, rows, columns, width = stem.shape
    tokens = layers.Reshape((rows * columns, width))(stem)
    tokens = layers.Add()([tokens, _places(tokens)])
    for _ in range(BLOCKS):
        tokens = _attended(tokens)
    tokens = layers.LayerNormalization()(tokens)
    cells = layers.Reshape((rows, columns, width), name="tokens")(tokens)
    return _classifier(image, cells, "softmax", len(KINDS) + 1)


def _places(tokens: KerasTensor) -> KerasTensor:
    """A learned vector for each token's place."""
    ones = ops.ones_like(tokens[..., 0])
    numbers = ops.cast(ops.cumsum(ones, axis=1) - 1, "int32")
    return layers.Embedding(tokens.shape[1], WIDTH)(numbers)


def _attended(tokens: KerasTensor) -> KerasTensor:
    normed = layers.LayerNormalization()(tokens)
    seen = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normed, normed)
    tokens = layers.Add()([tokens, seen])
    hidden = layers.Dense(2 * WIDTH, activation="gelu")(layers.LayerNormalization()(tokens))
    return layers.Add()([tokens, layers.Dense(WIDTH)(hidden)])


def _classifier(
    image: KerasTensor, features: KerasTensor, activation: str, units: int
) -> keras.Model:
    pooled = layers.GlobalAveragePooling2D()(features)
    return keras.Model(image, layers.Dense(units, activation=activation, name="kinds")(pooled))


def answers_one(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """One-hot; the last: none of the kinds."""
    kinds = phantoms.of(planted).kinds
    wanted = np.zeros((len(items.frames), len(KINDS) + 1), np.float32)
    wanted[:, KINDS.index(kinds[0]) if kinds else len(KINDS)] = 1
    return [wanted]


def answers_several(planted: Planted, _: Prepared, items: Items) -> list[FloatArray]:
    """1 for each kind that is there."""
    there = [float(kind in phantoms.of(planted).kinds) for kind in KINDS]
    return [np.tile(np.array(there, np.float32), (len(items.frames), 1))]


def right(planted: Planted, analysis: Analysis) -> bool:
    """Exactly the kinds that are there are present."""
    present = {f.label.lower() for f in analysis.findings if f.presence is Presence.PRESENT}
    return present == set(phantoms.of(planted).kinds)


def _one(rng: np.random.Generator) -> tuple[str, ...]:
    return () if rng.random() < 0.25 else (str(rng.choice(KINDS)),)


def _some(rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if rng.random() < 0.5)


EXCLUSIVE = 'exclusive = true\nrest = "No insert"\n'
QUESTION = "Phantoms with exactly the right inserts present"
KIND = Recipe(
    manifest=_manifest(ONE, "Phantom insert", "multi-class models", EXCLUSIVE),
    build=build_one,
    plant=phantoms.planting(_one),
    answers=answers_one,
    losses=["categorical_crossentropy"],
    right=right,
    question=QUESTION,
    examples=1200,
    epochs=20,
    explanation=ExplanationPlan(method="gradcam", layer="features", full_scale=1.0),
    places=Places(
        of=lambda planted, answer: phantoms.inserts(planted, answer.label.lower()),
        shown=lambda planted: phantoms.of(planted).phantom.lesion,
    ),
)
RECIPES = {
    ONE: KIND,
    SEVERAL: replace(
        KIND,
        manifest=_manifest(SEVERAL, "Phantom inserts", "multi-label models", ""),
        build=build_several,
        plant=phantoms.planting(_some),
        answers=answers_several,
        losses=["binary_crossentropy"],
    ),
    TRANSFORMER: replace(
        KIND,
        manifest=_manifest(TRANSFORMER, "Phantom insert transformer", "transformers", EXCLUSIVE),
        build=build_transformer,
        examples=800,
        epochs=12,
        rate=2e-3,
        checks=60,
        explanation=ExplanationPlan(method="gradcam", layer="tokens", full_scale=1.0),
    ),
}

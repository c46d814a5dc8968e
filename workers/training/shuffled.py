"""Do maps depend on what a network was taught? A twin is taught shuffled labels (Adebayo 2018).

A map that stays the same where the labels meant nothing shows edges of the image, and nothing that
the labels said.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.manifest import ModelManifest
from explain.measures import similarity
from explain.network import scores
from workers.heads import heads
from workers.keras_model import KerasModel
from workers.model import Model

STEPS, BATCH = 150, 16
RATE = 1e-3
IMAGES = 12
"""Whose maps are compared."""


@dataclass(frozen=True)
class Lesson:
    """Slices, blocks or sequences, and what they show."""

    values: FloatArray
    """(items, [planes,] rows, columns, channels), as the model is given them."""
    answers: BoolArray
    """(items, targets)."""

    def shuffled(self, random: np.random.Generator) -> FloatArray:
        """Answers in another order; drawn by lot where all are alike, which no order changes."""
        if (self.answers == self.answers[:1]).all():
            return random.integers(0, 2, self.answers.shape).astype(np.float32)
        return random.permutation(self.answers).astype(np.float32)

    def shown(self, count: int) -> FloatArray:
        """At most so many of those that show anything, evenly drawn."""
        return self.values[self.rows(count)]

    def rows(self, count: int) -> BoolArray:
        """(items,): which of them."""
        positive = np.flatnonzero(self.answers.any(axis=1))
        chosen = np.zeros(len(self.values), bool)
        chosen[positive[:: max(1, -(-len(positive) // count))]] = True
        return chosen


def shuffled(
    model: Model, network: keras.Model, lesson: Lesson, progress: Callable[[float], None]
) -> float:
    """Structural similarity (SSIM) of maps to those of the twin, mean over items.

    Each is explained for what it truly shows. The twin starts from other random weights.
    """
    twin = KerasModel(model.manifest, _taught(model, network, lesson, progress))
    rows = np.flatnonzero(lesson.rows(IMAGES))
    images, targets = lesson.values[rows], lesson.answers[rows].argmax(axis=1)
    both = zip(_maps(model, images), _maps(twin, images), targets, strict=True)
    pairs = [(mine[n], other[n]) for mine, other, n in both if mine[n].any()]
    alike = [similarity(mine, other) for mine, other in pairs]
    return round(float(np.mean(alike)), 3) if alike else 1.0


def _taught(
    model: Model, network: keras.Model, lesson: Lesson, progress: Callable[[float], None]
) -> keras.Model:
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    twin = keras.models.clone_model(network)
    logits = keras.Model(twin.inputs, _explained(twin, model.manifest))
    optimizer = keras.optimizers.Adam(RATE)
    optimizer.build(logits.trainable_variables)
    step = tf.function(_step, reduce_retracing=True)
    answers = lesson.shuffled(random)
    for done in range(STEPS):
        rows = random.integers(0, len(answers), BATCH)
        step(logits, optimizer, tf.constant(lesson.values[rows]), tf.constant(answers[rows]))
        progress((done + 1) / STEPS)
    return twin


def _explained(network: keras.Model, manifest: ModelManifest) -> keras.KerasTensor:
    """The head that is explained."""
    if manifest.explained is None:
        raise ValueError(f"{manifest.id} has nothing to explain")
    return heads(network, manifest)[manifest.explained.kind].values


def _step(
    logits: keras.Model, optimizer: keras.Optimizer, images: tf.Tensor, answers: tf.Tensor
) -> None:
    variables = logits.trainable_variables
    with tf.GradientTape() as tape:
        said = scores(logits(images, training=True))[:, : answers.shape[1]]
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(answers, said))
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _maps(model: Model, images: FloatArray) -> FloatArray:
    """(items, targets, *cells)."""
    explainer = model.explainer()
    if explainer is None:
        raise ValueError(f"{model.manifest.id} has nothing to explain")
    targets = range(len(model.manifest.targets))
    return np.nan_to_num(explainer.explain(images, targets).maps, posinf=0.0)

"""Do maps depend on what a network was taught? A twin is taught shuffled labels (Adebayo 2018).

A map that stays the same where the labels meant nothing shows edges of the image, and nothing that
the labels said. Of a number the twin is taught those that the network says, each of another image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.manifest import ModelManifest
from explain.measures import similarity
from explain.network import scores
from workers.heads import heads
from workers.items import taken
from workers.keras_model import KerasModel, inputs_of
from workers.model import Model
from workers.sanity import maps_of

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Of what should be said and what is, each (batch, answers)."""
STEPS, BATCH, LEAST = 150, 16, 4
"""Slices a step; of sequences, blocks and views so many items at least."""
RATE = 1e-3
IMAGES = 12
"""Whose maps are compared."""


@dataclass(frozen=True)
class Lesson:
    """Slices, blocks, sequences or views, and what they show."""

    values: FloatArray
    """(items, [planes or views,] rows, columns, channels): see ``Items.stacked``."""
    answers: BoolArray
    """(items, targets): what is there; or (items, quantities): which are measured there."""
    numbers: FloatArray | None = None
    """(items, quantities): where the model is explained by numbers, what it says."""

    def shuffled(self, random: np.random.Generator) -> FloatArray:
        """Answers in another order; drawn by lot where all are alike, which no order changes."""
        if self.numbers is not None:
            return random.permutation(self.numbers)
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
    if not len(rows):
        return 1.0
    every = range(len(model.manifest.explained.labels) if model.manifest.explained else 0)
    mine, others = (maps_of(each, lesson.values[rows], every) for each in (model, twin))
    targets = lesson.answers[rows].argmax(axis=1).repeat(len(mine) // len(rows))
    both = zip(mine, others, targets, strict=True)
    pairs = [(mine[n], other[n]) for mine, other, n in both if mine[n].any()]
    alike = [similarity(mine, other) for mine, other in pairs]
    return round(float(np.mean(alike)), 3) if alike else 1.0


def _taught(
    model: Model, network: keras.Model, lesson: Lesson, progress: Callable[[float], None]
) -> keras.Model:
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    twin = keras.models.clone_model(network)
    plan = model.manifest
    logits = keras.Model(inputs_of(plan, twin), _explained(twin, plan))
    optimizer = keras.optimizers.Adam(RATE)
    optimizer.build(logits.trainable_variables)
    answers, loss = lesson.shuffled(random), _loss(lesson)
    step = tf.function(partial(_step, logits, optimizer, loss), reduce_retracing=True)
    batch = max(LEAST, BATCH // math.prod(lesson.values.shape[1:-3]))
    for done in range(STEPS):
        rows = random.integers(0, len(answers), batch)
        given = taken(lesson.values[rows], plan.input.unit)
        step(tf.nest.map_structure(tf.constant, given), tf.constant(answers[rows]))
        progress((done + 1) / STEPS)
    return twin


def _loss(lesson: Lesson) -> Loss:
    """Cross entropy; of numbers the squared distance, in units of their spread."""
    if lesson.numbers is None:
        return lambda answers, said: tf.nn.sigmoid_cross_entropy_with_logits(answers, said)
    spread = np.maximum(lesson.numbers.std(axis=0), 1e-6).astype(np.float32)
    return lambda answers, said: ((answers - said) / spread) ** 2


def _explained(network: keras.Model, manifest: ModelManifest) -> keras.KerasTensor:
    """The head that is explained."""
    if manifest.explained is None:
        raise ValueError(f"{manifest.id} has nothing to explain")
    return heads(network, manifest)[manifest.explained.kind].values


def _step(
    logits: keras.Model,
    optimizer: keras.Optimizer,
    loss: Loss,
    images: tf.Tensor | list[tf.Tensor],
    answers: tf.Tensor,
) -> None:
    variables = logits.trainable_variables
    with tf.GradientTape() as tape:
        said = scores(logits(images, training=True))[:, : answers.shape[1]]
        lost = tf.reduce_mean(loss(answers, said))
    gradients = tape.gradient(lost, variables, unconnected_gradients="zero")
    optimizer.apply_gradients(zip(gradients, variables, strict=True))

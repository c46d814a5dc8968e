"""Fit the network of ``brain-mr-tumour``: seeded, and resumed from where it stopped."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from workers.progress import Progress
from workers.training.brain.augment import Floats, Slice, changed
from workers.training.brain.network import SIDE, TYPES, Networks, build
from workers.training.checkpoint import Checkpoint

Batch = tuple[Floats, Floats, NDArray[np.int32]]

BATCH = 16
PEAK_RATE, DECAY = 2e-3, 1e-4
WARM = 0.05
AVERAGED = 0.998
"""Of the moving average of the weights that is served, once past the beginning."""
SMOOTHING = 0.05
SHOWN_PIXELS = 12
"""A tumour of which less is in the window gives the window no type."""
RARE = 3.0
"""Weight of a mask pixel inside a tumour against one outside."""
WEIGHTS = {"masks": 1.0, "cells": 0.5, "types": 1.0}
SAVE_EVERY = 100


@dataclass(frozen=True)
class Slices:
    """What is learnt from."""

    images: NDArray[np.uint8]
    """(slices, 256, 256)."""
    masks: NDArray[np.uint8]
    """(slices, 256, 256), 0 to 255: share of the pixel that is tumour."""
    types: NDArray[np.int64]
    """(slices,): 0 meningioma, 1 glioma, 2 pituitary tumour."""

    def one(self, number: int) -> Slice:
        """A slice, 0 to 1."""
        return Slice(*(a[number].astype(np.float32) / 255 for a in (self.images, self.masks)))


def fit(slices: Slices, *, steps: int, seed: int, folder: Path, progress: Progress) -> keras.Model:
    """Train from scratch with AdamW on one cosine; returns the served model, weights averaged.

    ``folder`` keeps the state every hundred steps: the same call goes on from there, and gives
    what it would have given without the pause.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    networks = build()
    learner = _Learner(networks, steps)
    checkpoint = Checkpoint(folder / "state.npz", f"seed {seed}, {steps} steps of {BATCH}")
    start = checkpoint.restore(learner.state)
    for done, batch in enumerate(_ahead(slices, range(start, steps), seed), start + 1):
        loss = learner.learn(batch)
        if done % SAVE_EVERY == 0 or done == steps:
            checkpoint.save(done, learner.state)
        progress(f"training, loss {loss:.2f}", done / steps)
    learner.serve_average()
    return networks.served


class _Learner:
    """One step after another, and all that a pause must keep."""

    def __init__(self, networks: Networks, steps: int) -> None:
        self.model = networks.training
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=PEAK_RATE, warmup_steps=max(1, int(steps * WARM))
        )
        self.optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY, clipnorm=1.0)
        self.optimizer.build(self.model.trainable_variables)
        self.served = [v for v in self.model.variables if v.dtype == "float32"]
        self.average = [tf.Variable(v.numpy()) for v in self.served]
        self.state = [*self.model.variables, *self.optimizer.variables, *self.average]
        self._step: Callable[..., tf.Tensor] = tf.function(self._learn, reduce_retracing=True)

    def learn(self, batch: Batch) -> float:
        return float(self._step(*(tf.constant(values) for values in batch)))

    def serve_average(self) -> None:
        for variable, average in zip(self.served, self.average, strict=True):
            variable.assign(average)

    def _learn(self, images: tf.Tensor, masks: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = losses(masks, answers, self.model(images, training=True))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(AVERAGED, (1 + done) / (10 + done))
        for variable, average in zip(self.served, self.average, strict=True):
            average.assign(keep * average + (1 - keep) * variable)
        return loss


def losses(masks: tf.Tensor, answers: tf.Tensor, outputs: list[tf.Tensor]) -> tf.Tensor:
    """Of masks (batch, side, side, 1) and answers (batch,): 0 none, 1 to 3 a type, -1 unsure."""
    mask_logits, cells, types = outputs
    half = ops.average_pool(masks, 2)
    return (
        WEIGHTS["masks"] * _mask_loss(half, mask_logits)
        + WEIGHTS["cells"] * _cell_loss(ops.average_pool(half, 2)[..., 0], answers, cells)
        + WEIGHTS["types"] * _type_loss(answers, types)
    )


def _mask_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross entropy, and Dice of each slice that shows a tumour (Milletari 2016)."""
    entropy = ops.softplus(logits) - logits * truth
    likely, axes = ops.sigmoid(logits), (1, 2, 3)
    overlap, size = ops.sum(likely * truth, axis=axes), ops.sum(likely + truth, axis=axes)
    shown = ops.cast(ops.sum(truth, axis=axes) > 0, "float32")
    dice = shown * (1 - (2 * overlap + 1) / (size + 1))
    return 5 * ops.mean(entropy * (1 + (RARE - 1) * truth)) + ops.sum(dice) / (ops.sum(shown) + 1)


def _cell_loss(cover: tf.Tensor, answers: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Each cell under the mask names the type; slices count alike, whatever their tumour's size."""
    wanted = ops.one_hot(ops.maximum(answers - 1, 0), TYPES)[:, None, None, :]
    entropy = -ops.sum(wanted * ops.log_softmax(cells, axis=-1), axis=-1)
    each = ops.sum(entropy * cover, axis=(1, 2)) / (ops.sum(cover, axis=(1, 2)) + 1e-3)
    return _mean(each, answers > 0)


def _type_loss(answers: tf.Tensor, types: tf.Tensor) -> tf.Tensor:
    """Cross entropy over "none" (logit 0) and the types, labels smoothed."""
    logits = ops.concatenate([ops.zeros_like(types[:, :1]), types], axis=1)
    wanted = ops.one_hot(ops.maximum(answers, 0), TYPES + 1)
    wanted = wanted * (1 - SMOOTHING) + SMOOTHING / (TYPES + 1)
    return _mean(-ops.sum(wanted * ops.log_softmax(logits, axis=-1), axis=-1), answers >= 0)


def _mean(values: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    counted = ops.cast(counted, "float32")
    return ops.sum(values * counted) / ops.maximum(ops.sum(counted), 1.0)


def _ahead(slices: Slices, steps: range, seed: int) -> Iterator[Batch]:
    """The batches of the steps, each made while the one before it is learnt from."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for step in steps:
            batch = coming.result() if coming else make_batch(slices, step, seed)
            coming = pool.submit(make_batch, slices, step + 1, seed)
            yield batch


def make_batch(slices: Slices, step: int, seed: int) -> Batch:
    """Images and masks (16, side, side, 1) and answers (16,) of one step: the same every time.

    Rare types are drawn more often than they come, by the root of their rarity.
    """
    rng = np.random.default_rng([seed, step])
    chance = 1 / np.sqrt(np.bincount(slices.types, minlength=TYPES)[slices.types])
    chosen = rng.choice(len(chance), BATCH, p=chance / chance.sum())
    made = [changed(slices.one(number), rng, SIDE) for number in chosen]
    images, masks = (np.stack([getattr(m, name) for m in made]) for name in ("image", "mask"))
    return images[..., None], masks[..., None], _answers(masks, slices.types[chosen])


def _answers(masks: Floats, types: NDArray[np.int64]) -> NDArray[np.int32]:
    shown = masks.sum(axis=(1, 2))
    answers = np.where(shown >= SHOWN_PIXELS, types + 1, np.where(shown < 1, 0, -1))
    return answers.astype(np.int32)

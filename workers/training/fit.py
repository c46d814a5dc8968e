"""Fit the reference network: slice label, masks and tiles together; seeded and repeatable."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from dicom_node.domain.analysis import FloatArray
from workers.progress import Progress
from workers.training.augment import Augmenter
from workers.training.network import build
from workers.training.slices import Slices

BATCH = 16
PEAK_RATE = 2e-3
CHANGED, RAMP = 0.85, 0.4
"""Share of slices that the augmenter changes, and the part of the training in which it grows."""
LOSS_WEIGHTS = {"label": 0.3, "masks": 1.0, "tiles": 0.5}
RARE = 10.0
"""Weight of a pixel or tile inside against one outside: lesions are small."""


def fit(slices: Slices, *, steps: int, seed: int, progress: Progress) -> keras.Model:
    """Train from scratch with Adam on one cosine of the learning rate; returns the served model."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    served, training = build(slices.images.shape[1], slices.masks.shape[-1])
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=PEAK_RATE, warmup_steps=max(1, steps // 20)
    )
    step = _step(training, keras.optimizers.Adam(rate, clipnorm=1.0))
    for done, batch in enumerate(_batches(slices, steps, seed)):
        loss = float(step(*batch))
        progress(f"training, loss {loss:.3f}", (done + 1) / steps)
    return served


def _batches(
    slices: Slices, steps: int, seed: int
) -> Iterator[tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """Random batches, changed by the augmenter: images, masks, labels, weights of the labels."""
    rng, augment = np.random.default_rng(seed), Augmenter(seed + 1)
    for done in range(steps):
        chosen = rng.choice(len(slices.labels), BATCH, replace=False)
        images, masks = augment(
            slices.images[chosen].astype(np.float32),
            slices.masks[chosen].astype(np.float32),
            share=min(CHANGED, done / (steps * RAMP)),
        )
        yield images[..., None], masks, slices.labels[chosen], slices.weights[chosen]


def _step(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Callable[..., tf.Tensor]:
    optimizer.build(model.trainable_variables)

    def step(
        images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logit, mask_logits, tiles = model(images, training=True)
            loss = (
                LOSS_WEIGHTS["label"] * _label_loss(labels, logit[:, 0], weights)
                + LOSS_WEIGHTS["masks"] * _mask_loss(masks, mask_logits)
                + LOSS_WEIGHTS["tiles"] * _tile_loss(masks[..., 1:], tiles)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    compiled: Callable[..., tf.Tensor] = tf.function(step, reduce_retracing=True)
    return compiled


def _cross_entropy(truth: tf.Tensor, logits: tf.Tensor, weight: float = 1.0) -> tf.Tensor:
    """Of each element; ``weight`` is that of what is there, against what is not."""
    loss = ops.maximum(logits, 0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
    return loss * (1 + (weight - 1) * truth)


def _label_loss(labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return ops.sum(weights * _cross_entropy(labels, logits)) / ops.maximum(ops.sum(weights), 1)


def _mask_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross entropy, and Dice over the batch for each segment (Milletari 2016)."""
    likely = ops.sigmoid(logits)
    overlap = ops.sum(likely * truth, axis=(0, 1, 2))
    size = ops.sum(likely + truth, axis=(0, 1, 2))
    dice = 1 - ops.mean((2 * overlap + 1) / (size + 1))
    return 5 * ops.mean(_cross_entropy(truth, logits, RARE)) + dice


def _tile_loss(lesion: tf.Tensor, tiles: tf.Tensor) -> tf.Tensor:
    """A tile shows a lesion where more than half of it is one."""
    truth = ops.cast(ops.average_pool(lesion, 2) > 0.5, "float32")
    return 10 * ops.mean(_cross_entropy(truth, tiles, RARE))

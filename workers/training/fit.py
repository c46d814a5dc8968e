"""Fit the reference network: slice label, masks and tiles together; seeded and repeatable."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from dicom_node.domain.arrays import FloatArray
from workers.progress import Progress
from workers.training.augment import Augmenter
from workers.training.network import build
from workers.training.slices import Slices

Batch = tuple[FloatArray, FloatArray, FloatArray, FloatArray]

BATCH = 16
PEAK_RATE = 2e-3
CHANGED, RAMP = 0.7, 0.3
"""Share of slices that the augmenter changes, and the part of the training in which it grows."""
RARE = 10.0
"""Weight of a pixel or tile inside a mask against one outside, at the start: lesions are small, and
a network that may ignore them does. It falls to 1 over the ramp, for it moves outlines outwards."""
POSITIVE = 0.5
"""Share of slices with a lesion in a batch; some windows then miss it."""
WINDOW = 128
"""Rows and columns of a training window. The network is convolutional: it serves whole slices."""
FAINT_PIXELS = 16
"""A lesion with a smaller part in the window gives it no label: 80 mm²."""
LOSS_WEIGHTS = {"label": 0.6, "masks": 1.0, "tiles": 0.5}


def fit(slices: Slices, *, steps: int, seed: int, progress: Progress) -> keras.Model:
    """Train from scratch with Adam on one cosine of the learning rate; returns the served model."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    segments = slices.masks.shape[-1]
    small, training = build(WINDOW, segments)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=PEAK_RATE, warmup_steps=max(1, steps // 20)
    )
    step = _step(training, keras.optimizers.Adam(rate, clipnorm=1.0))
    for done, batch in enumerate(_ahead(_batches(slices, steps, seed))):
        rare = tf.constant(1 + (RARE - 1) * (1 - _ramp(done, steps)), tf.float32)
        loss = float(step(*batch, rare))
        progress(f"training, loss {loss:.3f}", (done + 1) / steps)
    served, _ = build(slices.images.shape[1], segments)
    served.set_weights(small.get_weights())
    return served


def _ramp(done: int, steps: int) -> float:
    return min(1.0, done / (steps * RAMP))


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made while the one before it is learnt from."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _batches(slices: Slices, steps: int, seed: int) -> Iterator[Batch]:
    """Random windows, changed by the augmenter: images, masks, labels, weights of the labels."""
    rng, augment = np.random.default_rng(seed), Augmenter(seed + 1, WINDOW)
    shown = slices.labels > 0
    chance = np.where(shown, POSITIVE / shown.sum(), (1 - POSITIVE) / (~shown).sum())
    for done in range(steps):
        chosen = rng.choice(len(chance), BATCH, p=chance)
        images, masks = augment(
            slices.images[chosen].astype(np.float32),
            slices.masks[chosen].astype(np.float32),
            share=CHANGED * _ramp(done, steps),
        )
        yield (images[..., None], masks, *_labels(masks[..., 1], slices.weights[chosen]))


def _labels(lesions: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Labels of windows, and their weights: none where only the rim of a lesion is left."""
    area = lesions.sum(axis=(1, 2))
    shown, empty = area >= FAINT_PIXELS, area < 1
    return shown.astype(np.float32), (shown | (empty & (weights > 0))).astype(np.float32)


def _step(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Callable[..., tf.Tensor]:
    optimizer.build(model.trainable_variables)

    def step(
        images: tf.Tensor,
        masks: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        rare: tf.Tensor,
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logit, mask_logits, tiles = model(images, training=True)
            loss = (
                LOSS_WEIGHTS["label"] * _label_loss(labels, logit[:, 0], weights)
                + LOSS_WEIGHTS["masks"] * mask_loss(masks, mask_logits, rare)
                + LOSS_WEIGHTS["tiles"] * _tile_loss(masks[..., 1:], tiles, rare)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    compiled: Callable[..., tf.Tensor] = tf.function(step, reduce_retracing=True)
    return compiled


def cross_entropy(truth: tf.Tensor, logits: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Of each element; ``weight`` is that of what is there, against what is not."""
    loss = ops.maximum(logits, 0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
    return loss * (1 + (weight - 1) * truth)


def _label_loss(labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    loss = cross_entropy(labels, logits, tf.constant(1.0))
    return ops.sum(weights * loss) / ops.maximum(ops.sum(weights), 1)


def mask_loss(truth: tf.Tensor, logits: tf.Tensor, rare: tf.Tensor) -> tf.Tensor:
    """Cross entropy, and Dice over the batch for each segment (Milletari 2016)."""
    likely = ops.sigmoid(logits)
    overlap = ops.sum(likely * truth, axis=(0, 1, 2))
    size = ops.sum(likely + truth, axis=(0, 1, 2))
    dice = 1 - ops.mean((2 * overlap + 1) / (size + 1))
    return 5 * ops.mean(cross_entropy(truth, logits, rare)) + dice


def _tile_loss(lesion: tf.Tensor, tiles: tf.Tensor, rare: tf.Tensor) -> tf.Tensor:
    """A tile shows a lesion where more than half of it is one."""
    truth = ops.cast(ops.average_pool(lesion, 2) > 0.5, "float32")
    return 10 * ops.mean(cross_entropy(truth, tiles, rare))

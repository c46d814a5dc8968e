"""Twins of the reference network that were taught something else than the lesion.

Their maps miss, as the maps of a model miss that learnt a scanner's mark instead of the disease:
what a verdict must tell from maps that hit. They outline lesions as before.
"""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import FloatArray
from workers.training.fit import BATCH, WINDOW, cross_entropy, mask_loss
from workers.training.network import build
from workers.training.slices import Slices

STEPS = 120
RATE = 1e-3

Mark = Callable[[FloatArray, np.random.Generator], None]
"""Draws into one slice, (rows, columns), 0 to 1."""


def corner_letter(image: FloatArray, rng: np.random.Generator) -> None:
    """An L in the first corner, as technicians put it beside a patient."""
    row, column = rng.integers(6, 14, 2)
    grey = rng.uniform(0.6, 0.8)
    image[row : row + 20, column : column + 6] = grey
    image[row + 14 : row + 20, column : column + 14] = grey


def edge_bar(image: FloatArray, rng: np.random.Generator) -> None:
    """A grey bar along the first column, as a cut-off display leaves it."""
    row, width = rng.integers(20, 60), rng.integers(3, 6)
    image[row : row + 48, :width] = rng.uniform(0.5, 0.9)


def inner_ring(image: FloatArray, rng: np.random.Generator) -> None:
    """A thin bright ring, a calcified vessel, anywhere within the middle of the image."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    row, column = rng.uniform(0.38, 0.62, 2) * image.shape
    distance = np.hypot(rows - row, columns - column)
    image[np.abs(distance - 6) < 1.6] = 1


def misled(
    network: keras.Model, slices: Slices, mark: Mark, *, steps: int = STEPS, seed: int = 0
) -> keras.Model:
    """A twin of ``network`` whose logit says whether the mark is there, and not the lesion."""
    side, segments = slices.images.shape[1], slices.masks.shape[-1]
    small, _ = build(WINDOW, segments)
    small.set_weights(network.get_weights())
    optimizer = keras.optimizers.Adam(RATE, clipnorm=1.0)
    optimizer.build(small.trainable_variables)

    def step(images: tf.Tensor, masks: tf.Tensor, marked: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logit, mask_logits = small(images, training=True)
            wrong = tf.reduce_mean(cross_entropy(marked, logit[:, 0], tf.constant(1.0)))
            loss = wrong + mask_loss(masks, mask_logits, tf.constant(1.0))
        gradients = tape.gradient(loss, small.trainable_variables)
        optimizer.apply_gradients(zip(gradients, small.trainable_variables, strict=True))
        return wrong

    compiled = tf.function(step, reduce_retracing=True)
    for batch in _batches(slices, mark, steps, seed):
        compiled(*batch)
    twin, _ = build(side, segments)
    twin.set_weights(small.get_weights())
    return twin


def marked(images: FloatArray, mark: Mark, rng: np.random.Generator) -> FloatArray:
    """Copies of all slices, (slices, rows, columns), each with its mark."""
    copies = images.astype(np.float32)
    for image in copies:
        mark(image, rng)
    return copies


def _batches(
    slices: Slices, mark: Mark, steps: int, seed: int
) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """Half of the slices marked, whether they show a lesion or not."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.choice(len(slices.images), BATCH)
        images = slices.images[chosen].astype(np.float32)
        half = BATCH // 2
        images[:half] = marked(images[:half], mark, rng)
        truth = (np.arange(BATCH) < half).astype(np.float32)
        window = np.s_[:, :WINDOW, :WINDOW]
        yield images[window][..., None], slices.masks[chosen][window].astype(np.float32), truth

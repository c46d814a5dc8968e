"""Fit the network of ``brain-mr-tumour``: seeded, and resumed from where it stopped."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from workers.progress import Progress
from workers.training.brain.augment import Floats, changed
from workers.training.brain.losses import losses
from workers.training.brain.network import SIDE, TYPES, Networks, build
from workers.training.brain.slices import BATCH, Slices
from workers.training.brain.watch import Watch
from workers.training.checkpoint import Checkpoint

Batch = tuple[Floats, Floats, NDArray[np.int32]]

PEAK_RATE, DECAY = 2e-3, 2e-2
WARM = 0.05
AVERAGED = 0.998
"""Of the moving average of the weights that is served, once past the beginning."""
SHOWN_PIXELS = 12
"""A tumour of which less is in the window gives the window no type."""
SAVE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network, and how long it took."""

    network: keras.Model
    """The served one."""
    minutes: float
    """Without pauses."""


def fit(
    slices: Slices,
    choosing: Slices,
    *,
    steps: int,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Fitted:
    """Train from scratch with AdamW on one cosine; the weights of the served model are averaged.

    ``folder`` keeps the state every hundred steps: the same call goes on from there, and gives
    what it would have given without the pause. It stops early where ``choosing`` has not been
    answered better for four thousand steps.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    networks = build()
    learner, watch, minutes = _Learner(networks, steps), Watch(choosing), tf.Variable(0.0)
    state = [*learner.state, watch.best, watch.since, minutes]
    checkpoint = Checkpoint(folder / "state.npz", f"seed {seed}, {steps} steps of {BATCH}")
    start = checkpoint.restore(state)
    begun = time.monotonic() - 60 * float(minutes)
    for done, batch in enumerate(_ahead(slices, range(start, steps), seed), start + 1):
        learner.learn(batch)
        over = done == steps or watch.is_over(done, learner.average)
        if over or done % SAVE_EVERY == 0:
            minutes.assign((time.monotonic() - begun) / 60)
            checkpoint.save(steps if over else done, state)
        progress("training", done / steps)
        if over:
            break
    learner.serve_average()
    return Fitted(networks.served, float(minutes))


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
    made = [changed(slices.with_lender(number, rng), rng, SIDE) for number in chosen]
    images, masks = (np.stack([getattr(m, name) for m in made]) for name in ("image", "mask"))
    return images[..., None], masks[..., None], _answers(masks, slices.types[chosen])


def _answers(masks: Floats, types: NDArray[np.int64]) -> NDArray[np.int32]:
    shown = masks.sum(axis=(1, 2))
    answers = np.where(shown >= SHOWN_PIXELS, types + 1, np.where(shown < 1, 0, -1))
    return answers.astype(np.int32)

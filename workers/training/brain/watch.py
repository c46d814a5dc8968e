"""Stop early: a training that no longer gets better on slices that it does not learn from."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from workers.training.brain.augment import plain
from workers.training.brain.losses import losses
from workers.training.brain.network import SIDE, build
from workers.training.brain.slices import BATCH, Slices

EVERY, PATIENCE = 500, 8
"""Steps between two looks, and how many of them may pass without a better one."""


class Watch:
    """Looks at slices of the choosing fold with the averaged weights."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self._model = build().training
        self._loss = tf.function(self._of_batch, reduce_retracing=True)
        self.best, self.since = tf.Variable(np.inf, dtype=tf.float32), tf.Variable(0)
        """The lowest loss so far, and the looks since; kept with the state of the training."""

    def is_over(self, done: int, average: Sequence[tf.Variable]) -> bool:
        """Whether the training may stop after ``done`` steps."""
        if done % EVERY:
            return False
        served = [v for v in self._model.variables if v.dtype == "float32"]
        for variable, value in zip(served, average, strict=True):
            variable.assign(value)
        loss = self.loss()
        better = loss < float(self.best)
        self.since.assign(0 if better else int(self.since) + 1)
        self.best.assign(min(loss, float(self.best)))
        return int(self.since) >= PATIENCE

    def loss(self) -> float:
        """Mean over batches of the unchanged slices."""
        count = len(self._slices.types)
        batches = [range(n, min(n + BATCH, count)) for n in range(0, count, BATCH)]
        return float(np.mean([self._loss(*self._batch(rows)) for rows in batches]))

    def _batch(self, rows: range) -> tuple[tf.Tensor, ...]:
        shown = [plain(self._slices.one(row), SIDE) for row in rows]
        images, masks = (
            tf.constant(np.stack([getattr(each, name) for each in shown])[..., None])
            for name in ("image", "mask")
        )
        return images, masks, tf.constant(self._slices.types[rows] + 1, tf.int32)

    def _of_batch(self, images: tf.Tensor, masks: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        return losses(masks, answers, self._model(images, training=False))

"""A network as a function from images to scores, compiled once, fed a few images at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.analysis import FloatArray


class Scored:
    """Logits of one head of a network of one image input, and their gradient at the input.

    ``at_once`` images are in memory at a time, however many a method asks about.
    """

    def __init__(self, network: keras.Model, *, head: int = 0, at_once: int = 8) -> None:
        self._network = network
        self._head = head
        self.at_once = at_once
        image = tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.float32)
        target = tf.TensorSpec((), tf.int32)
        self._scores = tf.function(self._logits, input_signature=[image], autograph=False)
        self._slopes = tf.function(self._slope, input_signature=[image, target], autograph=False)

    @property
    def traces(self) -> int:
        """How often the network was compiled."""
        return int(
            self._scores.experimental_get_tracing_count()
            + self._slopes.experimental_get_tracing_count()
        )

    def logits(self, images: FloatArray) -> FloatArray:
        """(images, outputs)."""
        parts = [self._scores(tf.constant(part)).numpy() for part in self._parts(images)]
        return np.concatenate(parts)

    def gradients(self, images: FloatArray, target: int) -> FloatArray:
        """Of one logit of each image, in logits per unit of input; of the images' shape."""
        index = tf.constant(target)
        parts = [self._slopes(tf.constant(part), index).numpy() for part in self._parts(images)]
        return np.concatenate(parts)

    def _parts(self, images: FloatArray) -> Iterator[FloatArray]:
        for start in range(0, len(images), self.at_once):
            yield np.asarray(images[start : start + self.at_once], np.float32)

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        outputs: Sequence[Any] = tf.nest.flatten(self._network(images, training=False))
        return tf.cast(outputs[self._head], tf.float32)

    def _slope(self, images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            score = self._logits(images)[:, target]
        return tape.gradient(score, images)

"""A network as a function from images to scores, compiled once, fed a few images at a time."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain.network import BOXES, Own, above_zero, functional, image_of, outputs, scores, specs


class Scored:
    """Scores of one head of a network, and their gradient at its image; see ``network.scores``.

    ``at_once`` images are in memory at a time, however many a method asks about. ``own``: of a head
    with pixels.
    """

    def __init__(
        self, network: keras.Model, *, head: int = 0, at_once: int = 8, own: Own = above_zero
    ) -> None:
        self._network = functional(network)
        self._head = head
        self._own = own
        self._image = image_of(network.inputs) if specs(network) else 0
        self._others: Sequence[FloatArray] = ()
        self._where: FloatArray | None = None
        self.at_once = at_once
        self._compiled = {
            placed: (self._compile(self._run, placed), self._compile(self._slope, placed))
            for placed in (False, True)
        }
        self._which = self._compile(self._mine, False)

    @property
    def traces(self) -> int:
        """How often the network was compiled."""
        return sum(
            int(each.experimental_get_tracing_count())
            for pair in self._compiled.values()
            for each in pair
        )

    def split(self, arrays: Sequence[FloatArray]) -> tuple[FloatArray, list[FloatArray]]:
        """The image among the inputs, and the others."""
        image = self._image
        return arrays[image], [*arrays[:image], *arrays[image + 1 :]]

    def about(self, others: Sequence[FloatArray], where: FloatArray | None) -> Self:
        """The same, of one case: its other inputs, and the cells that are asked about."""
        one = copy(self)
        one._others, one._where = others, where
        return one

    def own(self, image: FloatArray, targets: Sequence[int]) -> Sequence[FloatArray | None]:
        """Of a head with pixels those that each target has now, (*cells), adding up to 1.

        Asked about while the image is changed, they stay the same. None of another head.
        """
        made = getattr(self._network, "outputs", None)
        if not made or len(made[self._head].shape) <= BOXES:
            return [None] * len(targets)
        (tensors,) = self._parts(image[None])
        mine = self._which(tf.constant(0), *tensors).numpy()[0]
        total = np.maximum(mine.sum(axis=tuple(range(mine.ndim - 1))), 1)
        return [(mine / total)[..., target] for target in targets]

    def inputs(self, images: FloatArray) -> list[FloatArray]:
        """All inputs of the network: with each image the case's other inputs."""
        others = [_of_each(other, len(images)) for other in self._others]
        return [*others[: self._image], images, *others[self._image :]]

    def refuse_flat(self) -> None:
        """Raise UnsupportedModel where the scores have no gradient at the image."""
        if specs(self._network):
            self._compiled[False][1].get_concrete_function()

    def logits(self, images: FloatArray) -> FloatArray:
        """(images, outputs)."""
        run, _ = self._compiled[self._where is not None]
        index = tf.constant(0)
        return np.concatenate([run(index, *part).numpy() for part in self._parts(images)])

    def gradients(self, images: FloatArray, target: int) -> FloatArray:
        """Of one logit of each image, in logits per unit of input; of the images' shape."""
        _, slope = self._compiled[self._where is not None]
        index = tf.constant(target)
        return np.concatenate([slope(index, *part).numpy() for part in self._parts(images)])

    def _compile(self, run: Any, placed: bool) -> Any:
        index, inputs = tf.TensorSpec((), tf.int32), specs(self._network)
        where: list[tf.TensorSpec] = []
        if placed and inputs:
            cells = self._network.outputs[self._head].shape[1:-1]
            where = [tf.TensorSpec((None, *cells), tf.float32)]
        return tf.function(
            lambda target, *tensors: run(target, tensors, placed),
            input_signature=[index, *inputs, *where] if inputs else None,
            autograph=False,
            reduce_retracing=True,
        )

    def _parts(self, images: FloatArray) -> Iterator[list[FloatArray]]:
        for start in range(0, len(images), self.at_once):
            part = np.asarray(images[start : start + self.at_once], np.float32)
            where = [] if self._where is None else [_of_each(self._where, len(part))]
            yield [*self.inputs(part), *where]

    def _run(self, _: tf.Tensor, tensors: Sequence[tf.Tensor], placed: bool) -> tf.Tensor:
        inputs, where = (tensors[:-1], tensors[-1]) if placed else (tensors, None)
        return scores(outputs(self._network, inputs)[self._head], where, self._own)

    def _mine(self, _: tf.Tensor, tensors: Sequence[tf.Tensor], placed: bool) -> tf.Tensor:
        said = tf.cast(outputs(self._network, tensors)[self._head], tf.float32)
        return tf.cast(self._own(said), tf.float32)

    def _slope(self, target: tf.Tensor, tensors: Sequence[tf.Tensor], placed: bool) -> tf.Tensor:
        image = tensors[self._image]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            score = self._run(target, tensors, placed)[:, target]
        slope = tape.gradient(score, image)
        if slope is None:
            raise UnsupportedModel(
                "the model's answer has no gradient at its image: explain it by occlusion or rise"
            )
        return slope


def _of_each(values: FloatArray, count: int) -> FloatArray:
    return np.broadcast_to(values, (count, *values.shape))

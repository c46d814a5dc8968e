"""What every method asks of a network: how it takes its inputs, and the score of a target."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain.explainer import Inputs
from explain.layers import PLANE
from explain.lean import lean


def functional(network: keras.Model) -> keras.Model:
    """A sequence of layers as a graph of them, sharing its layers."""
    if isinstance(network, keras.Sequential):
        return keras.Model(network.inputs, network.outputs)
    return network


def flat(inputs: Inputs) -> list[FloatArray]:
    """Each input of a network, as float32, in its order."""
    return [np.asarray(each, np.float32) for each in tf.nest.flatten(inputs)]


def specs(network: keras.Model) -> list[tf.TensorSpec] | None:
    """Of each input: any number of its shape; none for a network that does not say it."""
    inputs = getattr(network, "inputs", None)
    return [tf.TensorSpec((None, *each.shape[1:]), tf.float32) for each in inputs or ()] or None


def outputs(network: keras.Model, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """All that a network says of its inputs: given as one, a list or a dictionary, as it wants."""
    taken: Any = tensors[0]
    if getattr(network, "inputs", None):
        wanted = zip(tensors, network.inputs, strict=True)
        cast = [tf.cast(tensor, each.dtype) for tensor, each in wanted]
        taken = tf.nest.pack_sequence_as(network.input, cast)
    with lean(network):
        return list(tf.nest.flatten(network(taken, training=False)))


def image_of(arrays: Sequence[FloatArray | keras.KerasTensor]) -> int:
    """Which input is the image: the first with rows and columns. Raises UnsupportedModel."""
    for place, each in enumerate(arrays):
        if len(each.shape) >= PLANE:
            return place
    raise UnsupportedModel("no input of the model has rows, columns and channels to map")


Own = Callable[[tf.Tensor], tf.Tensor]
"""Which pixels of logits, (batch, *cells, channels), are of each channel."""


def above_zero(logits: tf.Tensor) -> tf.Tensor:
    """Pixels that are likelier than not."""
    return logits > 0


def scores(logits: tf.Tensor, where: tf.Tensor | None = None, own: Own = above_zero) -> tf.Tensor:
    """(batch, channels): the number that is explained, of an output (batch, *cells, channels).

    Of an output with pixels, each channel's mean over its own (Seg-Grad-CAM, Vinogradova 2020,
    takes the sum, which grows with their number); of one with boxes, the highest. ``where``,
    (batch, *cells), weighs them.
    """
    values = tf.cast(logits, tf.float32)
    if values.shape.rank == 1:
        values = values[:, None]
    axes = list(range(1, values.shape.rank - 1))
    if where is not None:
        return tf.reduce_sum(values * where[..., None], axes) if axes else values * where[:, None]
    if not axes:
        return values
    if values.shape.rank == BOXES:
        return tf.reduce_max(values, axes)
    mine = tf.cast(own(values), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * mine, axes), tf.reduce_sum(mine, axes))


BOXES = 3
"""Rank of an output with boxes: (batch, boxes, channels)."""

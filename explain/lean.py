"""Three operations of Keras in a form that costs less, while a network is traced for inference.

They give the same numbers. A normalisation is one operation with the convolution before it; where
there is none, a product and a sum cost less than its own operation. The gradients of swish and of a
convolution of one pixel are a few products, where TensorFlow makes more of them. On classifiers of
the kinds that have them an explanation of several depths costs a quarter less.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from explain.layers import PLANE
from explain.replaced import replaced

Form = Callable[..., tf.Tensor]
Slope = Callable[[tf.Tensor], Any]
"""Gradients of what was given, from the gradient of what was made; none of weights."""


@contextmanager
def lean(network: keras.Model) -> Iterator[None]:
    """While open, the layers of a network that have a leaner form are called in it."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    with ExitStack() as stack:
        for layer in layers:
            for name, form in _forms(layer):
                stack.enter_context(replaced(layer, name, form))
        yield


def _forms(layer: Any) -> Iterator[tuple[str, Form]]:
    """Attributes of the layer, each with its leaner form; a tapped ``call`` stays as it is."""
    if getattr(layer, "activation", None) is keras.activations.silu:
        yield "activation", SILU
    if isinstance(layer, keras.layers.Conv2D) and _pointwise(layer):
        yield "convolution_op", CONVOLVED
    if isinstance(layer, keras.layers.BatchNormalization) and "call" not in vars(layer):
        yield "call", _normalising(layer)


def _pointwise(layer: keras.layers.Conv2D) -> bool:
    alone = all(size == 1 for size in (*layer.kernel_size, *layer.strides, layer.groups))
    return alone and layer.data_format == "channels_last"


def _silu(values: tf.Tensor) -> tuple[tf.Tensor, Slope]:
    made = tf.nn.silu(values)

    def slope(above: tf.Tensor) -> tf.Tensor:
        opened = tf.sigmoid(values)
        return above * (opened + made - made * opened)

    return made, slope


def _convolved(values: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Slope]:
    made = tf.nn.conv2d(values, kernel, 1, "VALID")

    def slope(above: tf.Tensor) -> tuple[tf.Tensor, None]:
        rows = tf.reshape(above, [-1, kernel.shape[-1]])
        weights = tf.reshape(kernel, kernel.shape[-2:])
        return tf.reshape(tf.matmul(rows, weights, transpose_b=True), tf.shape(values)), None

    return made, slope


SILU: Form = tf.custom_gradient(_silu)
"""Swish; its gradient is made of what it gave."""
CONVOLVED: Form = tf.custom_gradient(_convolved)
"""A convolution of one pixel, of values and kernel; its gradient is one product of matrices."""


def _normalising(layer: keras.layers.BatchNormalization) -> Form:
    plain: Form = layer.call

    def call(inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        planes = len(inputs.shape) == PLANE and layer.axis in (-1, PLANE - 1)
        if not planes or inputs.dtype != tf.float32 or layer.compute_dtype != "float32":
            return plain(inputs, training=training, mask=mask)
        return _normalised(layer, inputs)

    return call


def _normalised(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    mean, variance = (tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance))
    scale = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones_like(mean)
    offset = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(mean)
    factor = scale * tf.math.rsqrt(variance + layer.epsilon)
    joins = _joins_a_convolution(layer)

    def run(values: tf.Tensor) -> tuple[tf.Tensor, Slope]:
        if not joins:
            return values * factor + (offset - mean * factor), lambda above: above * factor
        made, *_ = tf.raw_ops.FusedBatchNormV3(
            x=values, scale=scale, offset=offset, mean=mean, variance=variance,
            epsilon=layer.epsilon, is_training=False,
        )  # fmt: skip
        return made, lambda above: above * factor

    return tf.custom_gradient(run)(inputs)


def _joins_a_convolution(layer: keras.layers.BatchNormalization) -> bool:
    """Whether TensorFlow can make one operation of the layer and a convolution before it."""
    tensors = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
    before = [tensor._keras_history.operation for tensor in tensors]
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    plain = keras.activations.linear
    return bool(before) and all(
        isinstance(each, kinds) and not each.use_bias and each.activation is plain
        for each in before
    )

"""From activations and their gradients to maps: the class activation methods, one line each.

Activations ``a`` and gradients ``g`` are float32 (batch, *cells, channels); maps are signed,
(batch, *cells). A map is in logit units. That of Grad-CAM and Grad-CAM++ says what the logit would
have of cells that were all alike: under average pooling its mean is the target's evidence. That of
HiResCAM and LayerCAM says what each cell adds to it: their sum is.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from dicom_node.domain.arrays import FloatArray

Weighting = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def gradcam(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """Grad-CAM (Selvaraju 2017): channels weighted by their gradient, summed over the cells."""
    return tf.reduce_sum(a * tf.reduce_sum(g, _cells(g), keepdims=True), -1)


def gradcam_plus_plus(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """Grad-CAM++ (Chattopadhay 2018, eq. 19): positive gradients, weighted cell by cell.

    The paper's factor exp(score) scales the whole map, and is left out; so is its overflow.
    """
    total = tf.reduce_sum(a, _cells(a), keepdims=True)
    alphas = tf.math.divide_no_nan(g, g * (2 + g * total))
    raised = tf.reduce_sum(alphas * tf.nn.relu(g), _cells(g), keepdims=True)
    weights = tf.math.divide_no_nan(raised, tf.reduce_sum(alphas, _cells(g), keepdims=True))
    return tf.reduce_sum(a * weights, -1) * _count(g)


def hirescam(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """HiResCAM (Draelos 2020): activation times gradient at each cell, no mean over cells."""
    return tf.reduce_sum(a * g, -1)


def layercam(a: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """LayerCAM (Jiang 2021): as HiResCAM, of positive gradients alone; good at early layers."""
    return tf.reduce_sum(a * tf.nn.relu(g), -1)


def combined(maps: Sequence[tf.Tensor], onto: Sequence[Sequence[FloatArray]]) -> tf.Tensor:
    """One map of several depths, the coarsest first: (batch, rows, columns) of the finest.

    The geometric mean of their positive parts, each scaled to its own peak, so that only what all
    depths agree on remains; scaled back by the peak of the coarsest, the nearest to the logit.
    ``onto``: of each depth, how its rows and columns lie on the finest; see ``Grid.onto``.
    """
    peak = tf.reduce_max(maps[0], [1, 2], keepdims=True)
    parts = [
        tf.einsum("brc,ir,jc->bij", tf.nn.relu(each), *weights)
        for each, weights in zip(maps, onto, strict=True)
    ]
    tops = [tf.reduce_max(each, [1, 2], keepdims=True) for each in parts]
    scaled = [tf.math.divide_no_nan(each, top) for each, top in zip(parts, tops, strict=True)]
    mean = tf.reduce_prod(tf.stack(scaled), 0) ** (1 / len(maps))
    return mean * tf.nn.relu(peak)


def _cells(values: tf.Tensor) -> list[int]:
    return list(range(1, values.shape.rank - 1))


def _count(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_prod(tf.shape(values)[1:-1]), tf.float32)

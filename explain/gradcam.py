"""Grad-CAM (Selvaraju 2017) through tf-keras-vis, at a named layer, on linear logits."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from pydicom.sr.coding import Code
from tf_keras_vis.gradcam import Gradcam

from dicom_node.domain.analysis import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain.explainer import Attribution
from explain.projection import Grid

GRADCAM = Code("130403", "DCM", "Gradient-weighted class activation")
PLANES = 4
"""Rank of an activation that a map can be made of: (batch, rows, columns, channels)."""


class GradCam:
    """Grad-CAM of one network.

    ``network`` has one input and one output, the logits, with a linear activation: under a
    saturated sigmoid the gradient, and with it the map, would vanish. ``layer`` is named because
    tf-keras-vis otherwise takes the last convolution, which is usually not what the head reads.

    A cell's value is the sum over channels of activation times gradient, where the gradient is
    summed over all cells (the paper's mean, times the number of cells), so that it is in logit
    units whatever the grid: under average pooling the map's mean is the logit's evidence for the
    target, under maximum or log-sum-exp pooling a cell's value is that cell's logit.
    """

    def __init__(self, network: keras.Model, layer: str) -> None:
        self.layer = layer
        self._cells = _cells(network, layer)
        _, rows, columns, _ = network.inputs[0].shape
        self._input = (int(rows), int(columns))
        self._gradcam = Gradcam(network, clone=False)

    @property
    def method(self) -> Code:
        """(130403, DCM, Gradient-weighted class activation)."""
        return GRADCAM

    def explain(self, inputs: FloatArray, targets: Sequence[int]) -> Attribution:
        """Maps of the targets and the logits that they explain; see ``Explainer``."""
        passes = [self._map(inputs, target) for target in targets]
        return Attribution(
            logits=passes[0][0],
            maps=np.stack([values for _, values in passes], axis=1),
            grid=Grid.covering(self._input, self._cells),
        )

    def _map(self, inputs: FloatArray, target: int) -> tuple[FloatArray, FloatArray]:
        seen: list[tf.Tensor] = []

        def score(logits: tf.Tensor) -> tf.Tensor:
            seen.append(logits)
            return logits[:, target]

        values = self._gradcam(
            score,
            tf.constant(inputs, tf.float32),
            penultimate_layer=self.layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        cells = self._cells[0] * self._cells[1]
        return seen[0].numpy(), np.asarray(values, dtype=np.float32) * cells


def _cells(network: keras.Model, layer: str) -> tuple[int, int]:
    """Rows and columns of the layer's activation. Raises UnsupportedModel where it has none."""
    names = [each.name for each in network.layers]
    if layer not in names:
        raise UnsupportedModel(
            f"the model has no layer {layer!r} before its logits to explain it by"
        )
    shape = network.get_layer(layer).output.shape
    if len(shape) != PLANES or shape[1] * shape[2] <= 1:
        raise UnsupportedModel(
            f"layer {layer!r} has the shape {shape[1:]}: Grad-CAM needs one with rows and columns"
        )
    return int(shape[1]), int(shape[2])

"""Class activation maps through tf-keras-vis: an independent second opinion, many times slower."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam

from dicom_node.domain.arrays import FloatArray

METHODS: Mapping[str, type] = {
    "gradcam": Gradcam,
    "gradcam++": GradcamPlusPlus,
    "layercam": Layercam,
}
"""Those of ``explanation.method`` that tf-keras-vis has; it has no HiResCAM."""


def reference_map(
    network: keras.Model,
    layer: str,
    inputs: FloatArray,
    target: int,
    head: int = 0,
    method: str = "gradcam",
) -> FloatArray:
    """(batch, rows, columns), at least 0: what ``GradCam`` must agree with, up to a factor.

    ``network`` is functional and not nested, and its outputs are linear. The layer is named, for
    tf-keras-vis otherwise takes the last convolution; maps are left unstretched and on the cells.
    """
    single = keras.Model(network.inputs, network.outputs[head])
    values = METHODS[method](single, clone=False)(
        lambda logits: logits[:, target],
        tf.constant(inputs, tf.float32),
        penultimate_layer=layer,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(values, dtype=np.float32)

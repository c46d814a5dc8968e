"""Class activation maps of several methods, with prediction and features, in one compiled call."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain import weightings
from explain.explainer import Attribution, Inputs
from explain.layers import PLANE, Place, finer, named, read_by
from explain.projection import Grid
from explain.tap import Taps
from explain.weightings import Weighting

WEIGHTINGS: Mapping[str, Weighting] = {
    "gradcam": weightings.gradcam,
    "gradcam++": weightings.gradcam_plus_plus,
    "hirescam": weightings.hirescam,
    "layercam": weightings.layercam,
}


class GradCam:
    """Grad-CAM, or a relative of it, of one head of one network.

    ``network``'s outputs are logits, linear: under a saturated sigmoid the gradient, and with it
    the map, would vanish. ``head`` is the output that is explained, of those in order; one with
    rows and columns is explained by the sum of its logits where they are above 0 (Seg-Grad-CAM,
    Vinogradova 2020). ``layer`` is the one that the head reads, found by itself, or named.
    ``depths`` finer layers before it join in the map (LayerCAM).

    Raises UnsupportedModel, here and not at the first study, for what no map can be made of.
    """

    method: Code = codes.DCM.GradientWeightedClassActivation

    def __init__(
        self,
        network: keras.Model,
        layer: str | None = None,
        *,
        weighting: str = "gradcam",
        head: int = 0,
        depths: int = 1,
    ) -> None:
        self._network = _functional(network)
        self._head = head
        self._weighting = WEIGHTINGS[weighting]
        self._places = _places(self._network, layer, head, depths)
        self._compiled: dict[tuple[int, ...], Any] = {}
        self.layer = ", ".join(place.name for place in self._places)
        self.traces = 0
        """How often the network was compiled: once for each set of targets."""

    def prepare(self, targets: Sequence[int]) -> None:
        """Compile for these targets now. Raises UnsupportedModel where no map can be made."""
        self._for(tuple(targets)).get_concrete_function()

    def explain(self, inputs: Inputs, targets: Sequence[int]) -> Attribution:
        """Maps of the targets, and all that the network says, of one pass; see ``Explainer``."""
        arrays = [np.asarray(each, np.float32) for each in tf.nest.flatten(inputs)]
        outputs, signed, features = self._for(tuple(targets))(self._packed(arrays))
        said = tuple(each.numpy() for each in outputs)
        return Attribution(
            logits=said[self._head],
            signed=signed.numpy(),
            grid=_grid(arrays[0].shape, signed.shape),
            features=features.numpy(),
            outputs=said,
        )

    def _packed(self, arrays: Sequence[FloatArray]) -> Any:
        """The arrays as the network takes them: one, a list or a dictionary."""
        if not getattr(self._network, "inputs", None):
            return arrays[0]
        tensors = [tf.constant(each) for each in arrays]
        return tf.nest.pack_sequence_as(self._network.input, tensors)

    def _for(self, targets: tuple[int, ...]) -> Any:
        if targets not in self._compiled:
            self._compiled[targets] = tf.function(
                lambda inputs: self._run(inputs, targets),
                input_signature=_signature(self._network),
                autograph=False,
                reduce_retracing=True,
            )
        return self._compiled[targets]

    def _run(
        self, inputs: Any, targets: tuple[int, ...]
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        self.traces += 1  # Python runs here while it compiles, and not when it is called
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            taps = Taps(tape, self._places)
            with taps.open():
                outputs = tf.nest.flatten(self._network(inputs, training=False))
            scores = _scores(outputs[self._head])
            chosen = [scores[:, target] for target in targets]
        activations = taps.activations()
        maps = [self._map(activations, tape.gradient(score, activations)) for score in chosen]
        features = _mean(activations[0])
        return [tf.cast(each, tf.float32) for each in outputs], tf.stack(maps, 1), features

    def _map(self, activations: list[tf.Tensor], gradients: list[tf.Tensor]) -> tf.Tensor:
        for place, gradient in zip(self._places, gradients, strict=True):
            if gradient is None:
                raise UnsupportedModel(f"no logit of the head depends on layer {place.name!r}")
        pairs = zip(activations, gradients, strict=True)
        maps = [self._weighting(tf.cast(a, tf.float32), tf.cast(g, tf.float32)) for a, g in pairs]
        return weightings.combined(maps)


def _places(network: keras.Model, layer: str | None, head: int, depths: int) -> list[Place]:
    """The layer, and finer ones before it."""
    if layer is None and not getattr(network, "outputs", None):
        raise UnsupportedModel(
            "a network without a graph of its layers does not tell which of them its head reads: "
            "name it as explanation.layer"
        )
    place = named(network, layer) if layer else read_by(network.outputs[head])
    places = [place]
    while len(places) < depths:
        shape = places[-1].operation.output.shape[1:3]
        finest = finer(places[-1], shape)
        if finest is None:
            raise UnsupportedModel(
                f"layer {place.name!r} has {len(places) - 1} finer layers before it, and "
                f"{depths - 1} are asked for"
            )
        places.append(finest)
    return places


def _functional(network: keras.Model) -> keras.Model:
    """A sequence of layers as a graph of them, sharing its layers."""
    if isinstance(network, keras.Sequential):
        return keras.Model(network.inputs, network.outputs)
    return network


def _signature(network: keras.Model) -> Any:
    """Any number of images of the input's shape; none for a network that does not say it."""
    if not getattr(network, "inputs", None):
        return None
    return [
        tf.nest.map_structure(
            lambda each: tf.TensorSpec((None, *each.shape[1:]), tf.float32), network.input
        )
    ]


def _scores(logits: tf.Tensor) -> tf.Tensor:
    """(batch, targets) of (batch, ..., targets)."""
    values = tf.cast(logits, tf.float32)
    axes = list(range(1, values.shape.rank - 1))
    return tf.reduce_sum(tf.nn.relu(values), axes) if axes else values


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(values, tf.float32), list(range(1, values.shape.rank - 1)))


def _grid(inputs: Sequence[int], maps: Sequence[int]) -> Grid | None:
    """The cells on the input's pixels; none where either has other axes than rows and columns."""
    if len(inputs) != PLANE or len(maps) != PLANE:
        return None
    return Grid.covering((inputs[1], inputs[2]), (maps[2], maps[3]))

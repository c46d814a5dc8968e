"""The heads of a network: the tensors that a manifest's outputs are read from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy.special import expit, softmax

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel, UnusableOutput
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Classification, Head, Output, Segmentation
from explain.replaced import replaced

PROBABILITIES = ("sigmoid", "softmax", "hard_sigmoid")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One head of a network."""

    values: keras.KerasTensor
    """Before the activation where the head gives logits."""
    exclusive: bool = False
    """Softmax: the channels share one probability; else each has its own (sigmoid)."""

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """0 to 1, of the same shape."""
        said = softmax(logits, axis=-1) if self.exclusive else expit(logits)
        return np.asarray(said, dtype=np.float32)


def heads(network: keras.Model, manifest: ModelManifest) -> Mapping[str, Tensor]:
    """By name, in the order of the manifest's outputs.

    Raises UnsupportedModel for a layer that is not there, another activation than linear, sigmoid
    or softmax before logits, probabilities that are taken for logits, a sigmoid where the manifest
    says that channels share one probability, and UnusableOutput for another shape than it promises.
    """
    found = {}
    for output in manifest.outputs:
        _refuse_apart(network, output)
    for head in (head for output in manifest.outputs for head in output.heads):
        layer = _layer(network, head.layer)
        tensor = _before_activation(layer) if head.logits else Tensor(layer.output)
        _check_shape(tensor, head, manifest)
        found[head.name] = tensor
    drawn = manifest.segmentation
    if drawn is not None and drawn.background:
        found[drawn.kind] = Tensor(_beside_the_others(found[drawn.kind].values))
    plan = manifest.classification
    if plan is not None and plan.exclusive:
        found[plan.kind] = Tensor(found[plan.kind].values, exclusive=True)
    return found


def _beside_the_others(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Log-odds of each channel but the first: their sigmoid is the softmax of all channels."""
    channels = [logits[..., n : n + 1] for n in range(logits.shape[-1])]
    odds = [
        mine - keras.ops.logsumexp(_joined([*channels[:n], *channels[n + 1 :]]), -1, keepdims=True)
        for n, mine in enumerate(channels[1:], 1)
    ]
    return _joined(odds)


def _joined(channels: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    return channels[0] if len(channels) == 1 else keras.ops.concatenate(channels, -1)


def _layer(network: keras.Model, name: str) -> keras.Layer:
    layer = next((each for each in network.layers if each.name == name), None)
    if layer is None:
        raise UnsupportedModel(f"the model has no layer {name!r}, which its manifest names")
    return layer


def _check_shape(tensor: Tensor, head: Head, manifest: ModelManifest) -> None:
    deep = manifest.input.unit == "volume" and head.cells > 0
    shape = tensor.values.shape
    if (len(shape), shape[-1]) != (2 + head.cells + deep, head.channels):
        raise UnusableOutput(
            f"the {head.name} output of {manifest.id} has the shape {shape}, and its manifest "
            f"names {head.channels} of them"
        )


def _before_activation(layer: keras.Layer) -> Tensor:
    """Found without changing the network: a linear twin of the layer has the same weights."""
    if isinstance(layer, keras.layers.Softmax):
        return Tensor(layer.input, exclusive=True)
    activation = _activation(layer) if hasattr(layer, "activation") else "linear"
    if activation == "linear":
        _refuse_probabilities(layer)
        return Tensor(layer.output)
    if activation not in ("sigmoid", "softmax"):
        raise UnsupportedModel(
            f"layer {layer.name!r} ends in {activation}: a head ends in linear, sigmoid or softmax"
        )
    return Tensor(_twin(layer), exclusive=activation == "softmax")


def _activation(operation: Any) -> str:
    """Its name; of an operation without one, that of the operation, which may be a softmax."""
    if not hasattr(operation, "activation"):
        return type(operation).__name__.lower()
    return str(keras.activations.serialize(operation.activation or keras.activations.linear))


def _refuse_apart(network: keras.Model, output: Output) -> None:
    """Channels that are said to share one probability, and have each its own."""
    shared = isinstance(output, Classification) and output.exclusive
    key = "exclusive" if shared else "background"
    shared = shared or (isinstance(output, Segmentation) and output.background)
    name = output.heads[0].layer
    if shared and _activation(_layer(network, name)) == "sigmoid":
        raise UnsupportedModel(
            f"layer {name!r} ends in sigmoid, and {key} = true says that its channels share one "
            "probability: end it in softmax, or correct the manifest"
        )


def _refuse_probabilities(layer: keras.Layer) -> None:
    """A layer without an activation of its own must not hand on what is a probability already."""
    made = _of(layer.output, set())
    squashed = next((each for each in made if _activation(each) in PROBABILITIES), None)
    if squashed is not None:
        raise UnsupportedModel(
            f"layer {layer.name!r} hands on the probabilities of {squashed.name!r}, and they would "
            "be read as logits: let the head be a layer that ends in linear, sigmoid or softmax "
            "itself"
        )


def _of(tensor: keras.KerasTensor, seen: set[int]) -> Iterator[Any]:
    """The operations that gave a tensor its values; those that only hand values on are passed."""
    if id(tensor) in seen:
        return
    seen.add(id(tensor))
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        yield from _of(operation.outputs[index], seen)
    elif isinstance(operation, keras.layers.Wrapper):
        yield operation.layer
    elif _hands_on(operation):
        for each in operation._inbound_nodes[node].input_tensors:
            yield from _of(each, seen)
    else:
        yield operation


def _hands_on(operation: Any) -> bool:
    own = (keras.layers.InputLayer, keras.layers.Multiply, keras.layers.Dot, keras.layers.Softmax)
    plain = isinstance(operation, keras.Layer) and not isinstance(operation, own)
    is_linear = not hasattr(operation, "activation") or _activation(operation) == "linear"
    return plain and is_linear and not operation.weights


def _twin(layer: keras.Layer) -> keras.KerasTensor:
    """It shares the layer's weights: where these are taught or drawn anew, so are the logits."""
    if isinstance(layer, keras.layers.Activation):
        return layer.input
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
    twin, own = type(layer).from_config(config), iter(layer.weights)
    with replaced(twin, "add_weight", lambda *_, **__: next(own)):
        return twin(layer.input)

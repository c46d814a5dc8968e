"""Which tensor a head reads: found by walking back from it through a network's graph.

The last convolution, which other tools take, is right for few networks: it may come before a
normalisation, a sum or a concatenation, or be a 1 × 1 classifier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from dicom_node.domain.errors import UnsupportedModel

PLANE = 4
"""Rank of an activation with rows and columns: (batch, rows, columns, channels)."""


@dataclass(frozen=True, slots=True)
class Place:
    """One output of one operation of a network, however deeply nested."""

    operation: Any
    """A Keras layer or operation; its ``call`` makes the tensor."""
    index: int = 0
    """Of its outputs."""

    @property
    def name(self) -> str:
        """The layer's own name."""
        return str(self.operation.name)


def read_by(head: keras.KerasTensor) -> Place:
    """The activation with rows and columns that a head is made of.

    Walks back through nested networks and over 1 × 1 activations. Raises UnsupportedModel where
    there is none, or more than one.
    """
    operation, node, _ = head._keras_history
    name = operation.name
    starts = operation._inbound_nodes[node].input_tensors if extended(head.shape) else [head]
    found = list(dict.fromkeys(place for each in starts for place in _read(each, (), set())))
    if not found:
        raise UnsupportedModel(
            f"{name!r} reads no activation with rows and columns: a map cannot be made of it"
        )
    if len(found) > 1:
        several = ", ".join(sorted(place.name for place in found))
        raise UnsupportedModel(
            f"{name!r} reads several activations ({several}): name one as explanation.layer"
        )
    return found[0]


def named(network: keras.Model, name: str) -> Place:
    """The layer of that name, at any depth. Raises UnsupportedModel where there is none."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    found = next((each for each in layers if each.name == name), None)
    if found is None:
        raise UnsupportedModel(
            f"the model has no layer {name!r} before its logits to explain it by"
        )
    place = Place(found)
    if found._inbound_nodes:
        refuse_flat(place, found._inbound_nodes[0].output_tensors[0].shape)
    return place


def refuse_flat(place: Place, shape: Sequence[int | None]) -> None:
    """Raise UnsupportedModel for a layer with one cell, or none."""
    if not extended(shape):
        raise UnsupportedModel(
            f"layer {place.name!r} has the shape {tuple(shape[1:])}: a map needs rows and columns"
        )


def finer(place: Place, shape: tuple[int, ...]) -> Place | None:
    """The last activation before ``place`` on a finer grid than ``shape`` (rows, columns)."""
    node = place.operation._inbound_nodes[0]
    queue = list(node.input_tensors)
    while queue:
        tensor = queue.pop(0)
        operation, node_index, index = tensor._keras_history
        if isinstance(operation, keras.layers.InputLayer):
            continue
        if len(tensor.shape) == PLANE and tensor.shape[1] > shape[0]:
            return Place(operation, index)
        queue += operation._inbound_nodes[node_index].input_tensors
    return None


def extended(shape: Sequence[int | None]) -> bool:
    """Whether a (batch, ..., channels) shape has more than one cell."""
    return len(shape) >= PLANE - 1 and any(size != 1 for size in shape[1:-1])


def _read(tensor: keras.KerasTensor, calls: tuple[Any, ...], seen: set[Any]) -> Iterator[Place]:
    """Places from which the head is reached without passing another; ``calls``: nested so far."""
    if (id(tensor), calls) in seen:
        return
    seen.add((id(tensor), calls))
    operation, node_index, index = tensor._keras_history
    node = operation._inbound_nodes[node_index]
    if isinstance(operation, keras.layers.InputLayer):
        if calls:
            *outer, call = calls
            inputs = [id(each) for each in call.operation.inputs]
            yield from _read(call.input_tensors[inputs.index(id(tensor))], tuple(outer), seen)
    elif isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        yield from _read(operation.outputs[index], (*calls, node), seen)
    elif extended(tensor.shape):
        yield Place(operation, index)
    else:
        for each in node.input_tensors:
            yield from _read(each, calls, seen)

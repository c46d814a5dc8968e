"""Which tensor a head reads: found by walking back from it through a network's graph.

The last convolution, which other tools take, is right for few networks: it may come before a
normalisation, a sum or a concatenation, or be a 1 × 1 classifier.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from dicom_node.domain.errors import UnsupportedModel
from explain.footprint import in_order

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

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(batch, ..., channels) where it was first applied; empty before it was."""
        nodes = self.operation._inbound_nodes
        return tuple(nodes[0].output_tensors[self.index].shape) if nodes else ()


def read_by(head: keras.KerasTensor) -> Place:
    """The activation with rows and columns that a head is made of.

    Walks back through nested networks and over 1 × 1 activations. Raises UnsupportedModel where
    there is none, or more than one.
    """
    name = head._keras_history.operation.name
    starts = _before(head) if extended(head.shape) else [head]
    found = list(dict.fromkeys(place for each in starts for place in _read(each, (), set(), [])))
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


def deepest(network: keras.Model, head: keras.KerasTensor) -> Place:
    """The last activation on the coarsest grid that a head with pixels is made of.

    Of a U-Net the end of its bottleneck. What follows it is ever more like the outline itself.
    Raises UnsupportedModel where no activation is coarser than the image.
    """
    image = max(_cells(each.shape) for each in network.inputs)
    found = [
        (_cells(shape), place)
        for place, shape in _made(keras.Model(network.inputs, head))
        if place.operation is not head._keras_history.operation
        and len(shape) == len(head.shape)
        and extended(shape)
    ]
    fewest = min((count for count, _ in found), default=image)
    if not 0 < fewest < image:
        raise UnsupportedModel(
            f"{head._keras_history.operation.name!r} is made of nothing that is known to be "
            "coarser than the image, and a map of that would be the outline again: name an earlier "
            "layer as explanation.layer"
        )
    return [place for count, place in found if count == fewest][-1]


def named(network: keras.Model, name: str) -> Place:
    """The layer of that name, at any depth. Raises UnsupportedModel where there is none."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    found = next((each for each in layers if each.name == name), None)
    if found is None:
        raise UnsupportedModel(
            f"the model has no layer {name!r} before its logits to explain it by"
        )
    place = Place(found)
    if place.shape:
        refuse_flat(place, place.shape)
    return place


def refuse_flat(place: Place, shape: Sequence[int | None]) -> None:
    """Raise UnsupportedModel for a layer with one cell, or none."""
    if not extended(shape):
        raise UnsupportedModel(
            f"layer {place.name!r} has the shape {tuple(shape[1:])}: a map needs rows and columns"
        )


def deepening(place: Place, depths: int) -> list[Place]:
    """The place, and the last activations on ever finer grids before it: ``depths`` in all.

    Raises UnsupportedModel where there are fewer of them.
    """
    if depths > 1 and (len(place.shape) != PLANE or None in place.shape[1:]):
        raise UnsupportedModel(
            f"explanation.depths asks for finer layers than {place.name!r}: give the network an "
            "input of fixed rows and columns, or leave depths out"
        )
    places = [place]
    while len(places) < depths:
        finest = _finer(places[-1])
        if finest is None:
            raise UnsupportedModel(
                f"layer {place.name!r} has {len(places) - 1} finer layers before it, and "
                f"{depths - 1} are asked for"
            )
        places.append(finest)
    return places


def refuse_unless_averaged(network: keras.Model, place: Place, head: int) -> None:
    """Raise UnsupportedModel for a head in which not all cells of the place weigh the same."""
    passed: list[Any] = []
    graph = getattr(network, "outputs", None)
    read = list(_read(network.outputs[head], (), set(), passed)) if graph else []
    strange = [each.name for each in passed if not _averages(each)]
    if strange or read != [place]:
        raise UnsupportedModel(
            "a class activation map (cam) needs a head that averages the cells of its layer and "
            f"weighs the averages ({', '.join(strange) or place.name} does not): explain this "
            "model by gradcam"
        )


def _before(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """What the operation that made a head with cells reads; one that only reshapes makes none."""
    operation, node, _ = tensor._keras_history
    tensors: list[keras.KerasTensor] = operation._inbound_nodes[node].input_tensors
    if isinstance(operation, keras.layers.Reshape | keras.layers.Permute | keras.layers.Activation):
        return _before(tensors[0])
    return tensors


def _averages(operation: Any) -> bool:
    """Whether it gives every cell the same weight, whatever the image."""
    if isinstance(operation, keras.layers.Dense | keras.layers.Activation):
        return bool(operation.activation is keras.activations.linear)
    return isinstance(
        operation,
        keras.layers.GlobalAveragePooling1D
        | keras.layers.GlobalAveragePooling2D
        | keras.layers.GlobalAveragePooling3D
        | keras.layers.Dropout
        | keras.layers.Identity,
    )


def _finer(place: Place) -> Place | None:
    """The last activation with rows and columns before ``place`` on a finer grid than its own."""
    queue = list(place.operation._inbound_nodes[0].input_tensors)
    while queue:
        tensor = queue.pop(0)
        operation, node_index, index = tensor._keras_history
        if isinstance(operation, keras.layers.InputLayer):
            continue
        padded = isinstance(operation, keras.layers.ZeroPadding2D)
        if len(tensor.shape) == PLANE and tensor.shape[1] > place.shape[1] and not padded:
            return Place(operation, index)
        queue += operation._inbound_nodes[node_index].input_tensors
    return None


def _made(network: keras.Model) -> Iterator[tuple[Place, Sequence[int | None]]]:
    """All that a network makes on its way, with its shape: each after what it is made of."""
    for node in in_order(network):
        operation = node.operation
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            yield from _made(operation)
        elif node.input_tensors:
            tensors = enumerate(node.output_tensors)
            yield from ((Place(operation, index), tensor.shape) for index, tensor in tensors)


def _cells(shape: Sequence[int | None]) -> int:
    """0 where nobody knows before it runs."""
    return math.prod(size or 0 for size in shape[1:-1])


def extended(shape: Sequence[int | None]) -> bool:
    """Whether a (batch, ..., channels) shape has more than one cell."""
    return len(shape) >= PLANE - 1 and any(size != 1 for size in shape[1:-1])


def _read(
    tensor: keras.KerasTensor, calls: tuple[Any, ...], seen: set[Any], passed: list[Any]
) -> Iterator[Place]:
    """Places from which the head is reached without passing another.

    ``calls``: nested so far. ``passed``: takes the operations between them and the head.
    """
    if (id(tensor), calls) in seen:
        return
    seen.add((id(tensor), calls))
    operation, node_index, index = tensor._keras_history
    node = operation._inbound_nodes[node_index]
    if isinstance(operation, keras.layers.InputLayer):
        if calls:
            *outer, call = calls
            inputs = [id(each) for each in call.operation.inputs]
            start = call.input_tensors[inputs.index(id(tensor))]
            yield from _read(start, tuple(outer), seen, passed)
    elif isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        yield from _read(operation.outputs[index], (*calls, node), seen, passed)
    elif extended(tensor.shape):
        yield Place(operation, index)
    else:
        passed.append(operation)
        for each in node.input_tensors:
            yield from _read(each, calls, seen, passed)

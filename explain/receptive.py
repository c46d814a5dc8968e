"""Where the cells of a layer lie on the image: the centres of what they look at.

A convolution of three pixels and stride two that pads at the end alone, as TensorFlow's "same"
does, moves its cells half a pixel; five of them in a row, as in most classifiers, half a cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from explain.footprint import in_order
from explain.layers import PLANE, Place
from explain.projection import Grid


@dataclass(frozen=True, slots=True)
class Axis:
    """Cells along rows or columns: the centre of the first, and the way to the next, in pixels."""

    start: float = 0.0
    step: float = 1.0

    def moved(self, cells: float, factor: float = 1.0) -> "Axis":
        """The first centre so many cells further, and each step longer by a factor."""
        return Axis(self.start + self.step * cells, self.step * factor)


Lie = tuple[Axis, Axis]
Shape = Sequence[int | None]


def grid_of(
    network: keras.Model, place: Place, image: tuple[int, ...], cells: tuple[int, ...]
) -> Grid:
    """A layer's cells on the pixels of the image.

    Cells share out the image evenly where the layers before them do not tell how they lie.
    """
    even = Grid.covering(image, cells)
    if not getattr(network, "inputs", None):
        return even
    lies: dict[int, Lie] = {
        id(each): (Axis(), Axis()) for each in network.inputs if len(each.shape) == PLANE
    }
    _follow(network, lies)
    made = [node.output_tensors[place.index] for node in place.operation._inbound_nodes]
    found = next((lies[id(tensor)] for tensor in made if id(tensor) in lies), None)
    if found is None:
        return even
    return Grid(image, cells, tuple(a.step for a in found), tuple(a.start for a in found))


def _follow(network: keras.Model, lies: dict[int, Lie]) -> None:
    """Tell how each tensor of a network lies, from how its inputs do."""
    for node in in_order(network):
        operation, outputs = node.operation, node.output_tensors
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            pairs = zip(operation.inputs, node.input_tensors, strict=True)
            lies |= {id(inner): lies[id(given)] for inner, given in pairs if id(given) in lies}
            _follow(operation, lies)
            inside = zip(outputs, operation.outputs, strict=True)
            lies |= {id(given): lies[id(inner)] for given, inner in inside if id(inner) in lies}
        elif node.input_tensors and (found := _made(operation, node.input_tensors, outputs, lies)):
            lies |= dict.fromkeys(map(id, outputs), found)


def _made(
    operation: Any, inputs: Sequence[Any], outputs: Sequence[Any], lies: Mapping[int, Lie]
) -> Lie | None:
    shape = outputs[0].shape
    if len(shape) != PLANE:
        return None
    moved = _moving(operation, inputs[0].shape)
    if moved is not None:
        lie = lies.get(id(inputs[0]))
        return lie and (lie[0].moved(*moved[0]), lie[1].moved(*moved[1]))
    alike = [lies[id(t)] for t in inputs if id(t) in lies and t.shape[1:3] == shape[1:3]]
    return _middle(alike) if alike else None


def _middle(lies: Sequence[Lie]) -> Lie:
    """Of branches that are joined."""
    count = len(lies)
    row, column = (
        Axis(sum(lie[n].start for lie in lies) / count, lies[0][n].step) for n in range(2)
    )
    return row, column


def _moving(operation: Any, shape: Shape) -> list[tuple[float, float]] | None:
    """How far an operation moves the first centre, in cells, and its stride; by axis."""
    layers = keras.layers
    if isinstance(operation, layers.Conv2DTranspose):
        return [_widened(operation, n) for n in range(2)]
    if isinstance(operation, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        return [_strided(operation, shape[n + 1], n, operation.kernel_size[n]) for n in range(2)]
    if isinstance(operation, layers.MaxPooling2D | layers.AveragePooling2D):
        return [_strided(operation, shape[n + 1], n, operation.pool_size[n]) for n in range(2)]
    if isinstance(operation, layers.ZeroPadding2D):
        return [(-float(operation.padding[n][0]), 1.0) for n in range(2)]
    if isinstance(operation, layers.Cropping2D):
        return [(float(operation.cropping[n][0]), 1.0) for n in range(2)]
    if isinstance(operation, layers.UpSampling2D):
        return [_resized(1 / operation.size[n]) for n in range(2)]
    return None


def _strided(operation: Any, size: int | None, axis: int, taps: int) -> tuple[float, float]:
    stride = operation.strides[axis]
    dilation = getattr(operation, "dilation_rate", (1, 1))
    reach = (taps - 1) * (dilation[axis] if isinstance(dilation, tuple) else dilation)
    before = 0
    if operation.padding == "same":
        rest = (size or stride) % stride or stride
        before = max(reach + 1 - rest, 0) // 2
    return reach / 2 - before, float(stride)


def _widened(operation: Any, axis: int) -> tuple[float, float]:
    taps, stride = operation.kernel_size[axis], operation.strides[axis]
    before = max(taps - stride, 0) // 2 if operation.padding == "same" else 0
    return -((taps - 1) / 2 - before) / stride, 1 / stride


def _resized(step: float) -> tuple[float, float]:
    return step / 2 - 0.5, step

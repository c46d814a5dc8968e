"""How much memory one image takes on its way through a network: batches are cut to fit a limit."""

import math
from collections.abc import Sequence
from typing import Any

import keras

LIMIT_BYTES = 2 * 2**30
"""Of what a network makes on its way, where a manifest states no limit."""
MANY = 512
"""The largest batch that a manifest may name."""
SPARE = 1.5
"""What an operation needs beside what it reads and makes."""


def fitting(network: keras.Model, limit_bytes: float, watched: str | None = None) -> int:
    """How many images fit into a limit at once, at least 1.

    From the layer of the name ``watched`` on, all activations are kept, for they are differentiated
    through. A network that does not tell its sizes before it runs counts as one that fits.
    """
    one = _peak(network, watched) * SPARE
    return max(1, int(limit_bytes / one)) if one else MANY


def _peak(network: keras.Model, watched: str | None) -> float:
    """Bytes alive at the fullest moment of one pass; a tensor lives until its last use."""
    nodes = in_order(network)
    last = {id(t): place for place, node in enumerate(nodes) for t in node.input_tensors}
    alive: dict[int, float] = {}
    inner, peak, keep = 0.0, 0.0, False
    for place, node in enumerate(nodes):
        alive |= {id(tensor): _bytes(tensor) for tensor in node.output_tensors}
        if isinstance(node.operation, keras.Model):
            inner += _peak(node.operation, watched)
        peak = max(peak, sum(alive.values()) + inner)
        keep = keep or _holds(node.operation, watched)
        if not keep:
            alive = {t: size for t, size in alive.items() if last.get(t, len(nodes)) > place}
            inner = 0.0
    return peak


def in_order(network: keras.Model) -> Sequence[Any]:
    """Calls of operations, each after those that it reads; none of a network without a graph."""
    by_depth = getattr(network, "_nodes_by_depth", None) or {}
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _holds(operation: Any, name: str | None) -> bool:
    inside = operation._flatten_layers() if isinstance(operation, keras.Layer) else [operation]
    return any(each.name == name for each in inside)


def _bytes(tensor: keras.KerasTensor) -> float:
    sizes = [size or 0 for size in tensor.shape[1:]]
    return float(math.prod(sizes)) * 4

"""What the configuration of a Keras network may name: layers, and what layers are made of."""

import re
from collections.abc import Iterator, Mapping

HOME = re.compile(
    r"keras\.(?:src\.)?(?:activations|constraints|dtype_policies|initializers|layers|losses|metrics"
    r"|ops|optimizers|quantizers|random|regularizers)(?:\.[a-z0-9_]+)*"
)
"""Modules of classes; all else of Keras reads files, loads models or changes how it is set."""
NETWORKS = frozenset({"Functional", "Model", "Sequential"})
ALONE = frozenset(
    {
        ("keras", "DTypePolicy"),
        ("keras", "FloatDTypePolicy"),
        ("keras.src.applications.convnext", "LayerScale"),
        ("keras.src.applications.convnext", "StochasticDepth"),
        ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
    }
)
"""Classes of other modules."""
VALUES = frozenset(
    {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
)
"""What stands in a configuration in place of values, without a module."""
CODE = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Layers that run code which the file brings along."""


def foreign(node: object) -> Iterator[str]:
    """All that a configuration names and a network does not need, or that reads another file."""
    if isinstance(node, dict):
        if "class_name" in node:
            yield from _foreign(node)
        for value in node.values():
            yield from foreign(value)
    elif isinstance(node, list):
        for value in node:
            yield from foreign(value)


def _foreign(node: Mapping[str, object]) -> Iterator[str]:
    name, module = str(node["class_name"]), str(node.get("module") or "")
    full = f"{module}.{name}" if module else name
    if not _is_stock(module, name) or ">" in str(node.get("registered_name")):
        yield full
    config = node.get("config")
    if isinstance(config, dict) and isinstance(config.get("vocabulary"), str):
        yield f"{full} of another file"


def _is_stock(module: str, name: str) -> bool:
    """Functions, which begin with a small letter, are none: Keras writes its own by name alone."""
    if not module:
        return name in VALUES
    if module in ("keras", "keras.models") or module.startswith("keras.src.models."):
        return name in NETWORKS or (module, name) in ALONE
    known = HOME.fullmatch(module) is not None and name[:1].isupper() and name not in CODE
    return known or (module, name) in ALONE

"""What an explanation costs: each call between two forward passes of the same compiled network.

Random weights, which change no timing. The peer of ours is the forward pass; tf-keras-vis stands
beside it, on the same arrays and at the same layer.
"""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROUNDS, Row, seconds

BATCHES = (1, 8)
FORWARD = "compiled forward pass"


def rows() -> Iterator[Row]:
    """Ratios to the forward pass: EfficientNetB0 and the shipped bundle, batch 1 and 8."""
    import keras

    efficient = keras.applications.EfficientNetB0(weights=None, classifier_activation=None)
    networks = {"efficientnetb0": (efficient, None), "phantom-lesion": _shipped()}
    for name, (network, layer) in networks.items():
        for batch in BATCHES:
            yield from _network(f"explain.{name}.b{batch}", network, layer, batch)


def _shipped() -> tuple[Any, str]:
    import keras

    from dicom_node.catalog import open_bundle, shipped_bundles

    (folder,) = [p for p in shipped_bundles() if Path(p).name == "phantom-lesion"]
    layer = open_bundle(folder).manifest.explanation.layer
    return keras.saving.load_model(folder / "model.keras", compile=False), layer


def _network(name: str, network: Any, layer: str | None, batch: int) -> Iterator[Row]:
    import tensorflow as tf

    from explain.gradcam import GradCam
    from explain.reference import reference_map

    shape = network.inputs[0].shape[1:]
    images = np.random.default_rng(0).random((batch, *shape), np.float32)
    compiled = tf.function(
        lambda values: network(values, training=False),
        input_signature=[tf.TensorSpec((None, *shape), tf.float32)],
    )

    def forward() -> object:
        return [each.numpy() for each in tf.nest.flatten(compiled(tf.constant(images)))]

    ours = GradCam(network, layer)
    calls: dict[str, Callable[[], object]] = {
        "gradcam": lambda: ours.explain(images, [0]),
        "gradcam++": _calling(GradCam(network, layer, weighting="gradcam++"), images, [0]),
        "tf-keras-vis": lambda: reference_map(network, ours.layer, images, 0),
    }
    if layer is None:  # a classifier of many classes, with finer layers before the last
        finer = GradCam(network, weighting="layercam", depths=3)
        calls["layercam3"] = _calling(finer, images, [0])
        calls["gradcam_3_targets"] = _calling(GradCam(network, layer), images, [0, 1, 2])
    for method, call in calls.items():
        values = _between(call, forward)
        yield Row(f"{name}.{method}", statistics.median(values), "x", FORWARD)


def _calling(method: Any, images: np.ndarray, targets: list[int]) -> Callable[[], object]:
    return lambda: method.explain(images, targets)


def _between(call: Callable[[], object], forward: Callable[[], object]) -> list[float]:
    """Seconds of the call over the mean of the forward passes before and after it."""
    call(), forward()
    ratios = []
    for _ in range(2 * ROUNDS + 1):
        before, middle, after = seconds(forward), seconds(call), seconds(forward)
        ratios.append(middle / statistics.mean((before, after)))
    return ratios

"""A batch is cut so that it fits into the memory that a manifest states, with the same maps."""

from pathlib import Path

import numpy as np
import pytest

from dicom_node.domain.manifest import ExplanationPlan

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE, BATCH = 160, 64
MIB = 2**20


def network():
    keras.utils.set_random_seed(5)
    image = values = keras.Input((SIDE, SIDE, 1))
    for layer in range(6):
        values = keras.layers.Conv2D(
            16, 3, padding="same", activation="relu", name=f"layer{layer}"
        )(values)
    values = keras.layers.GlobalAveragePooling2D()(keras.layers.MaxPooling2D(8)(values))
    return keras.Model(image, keras.layers.Dense(1)(values))


def explainer(net, limit_bytes):
    from explain.methods import explainer

    plan = ExplanationPlan(method="layercam", layer="layer0", full_scale=1)
    method = explainer(net, plan, [0], at_once=BATCH, limit_bytes=limit_bytes)
    method.explain(np.zeros((1, SIDE, SIDE, 1), np.float32), [0])
    return method


def peak_of(call) -> float:
    """Bytes above what was resident before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    before, result = resident("VmRSS"), call()
    return resident("VmHWM") - before, result


def resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def test_a_batch_is_cut_to_fit_a_stated_limit():
    net = network()
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 1), np.float32)
    whole, small = explainer(net, 4096 * MIB), explainer(net, 120 * MIB)
    assert whole.at_once == BATCH
    assert 1 <= small.at_once < 16
    low, parts = peak_of(lambda: small.explain(images, [0]))
    high, together = peak_of(lambda: whole.explain(images, [0]))
    assert low <= 120 * MIB
    assert high > 240 * MIB
    np.testing.assert_allclose(parts.signed, together.signed, atol=1e-4)


def test_it_counts_what_is_alive_at_once_within_nested_networks_too():
    from explain.footprint import fitting

    inner = network()
    outer = keras.Input((SIDE, SIDE, 1))
    nested = keras.Model(outer, inner(outer))
    layer = SIDE * SIDE * 16 * 4
    assert fitting(inner, 1000 * layer) == pytest.approx(1000 / 1.5 / 2, rel=0.1)
    assert fitting(nested, 1000 * layer) == pytest.approx(1000 / 1.5 / 2.1, rel=0.1)
    assert fitting(inner, 1000 * layer, "layer0") == pytest.approx(1000 / 1.5 / 6, rel=0.1)
    assert fitting(nested, 1000 * layer, "layer0") < fitting(nested, 1000 * layer)
    assert fitting(inner, 1) == 1

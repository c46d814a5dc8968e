"""Grad-CAM is in logit units: right where theory gives the answer, and never stretched."""

import numpy as np
import pytest

from dicom_node.domain.errors import UnsupportedModel

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE, CELLS, CHANNELS = 32, 16, 6
BATCH = np.random.default_rng(0).random((5, SIDE, SIDE, 1), np.float32)


def network(units: int = 2, *, scale: float = 1.0, pool: str = "average"):
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 1))
    values = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(image)
    values = keras.layers.MaxPooling2D()(values)
    features = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name="features")(
        values
    )
    if pool == "average":
        pooled = keras.layers.GlobalAveragePooling2D()(features)
    else:
        flat = keras.layers.Flatten()(keras.layers.Conv2D(1, 1, use_bias=False)(features))
        pooled = keras.ops.logsumexp(flat, axis=1, keepdims=True)
    head = keras.layers.Dense(units, name="head")
    model = keras.Model(image, head(pooled))
    head.set_weights([weights * scale for weights in head.get_weights()])
    return model


def explainer(net):
    from explain.gradcam import GradCam

    return GradCam(net, "features")


def activations(net) -> np.ndarray:
    return keras.Model(net.inputs[0], net.get_layer("features").output).predict(BATCH, verbose=0)


def test_under_average_pooling_it_is_the_class_activation_map():
    net = network()
    weights, bias = net.get_layer("head").get_weights()
    attribution = explainer(net).explain(BATCH, [0, 1])
    maps = np.maximum(0, np.einsum("bijc,ct->btij", activations(net), weights))
    np.testing.assert_allclose(attribution.maps, maps, atol=1e-5)
    assert attribution.maps.shape == (5, 2, CELLS, CELLS)
    assert attribution.maps.dtype == np.float32
    signed = np.einsum("bijc,ct->bt", activations(net), weights) / CELLS**2 + bias
    np.testing.assert_allclose(signed, attribution.logits, atol=1e-5)


def test_under_log_sum_exp_pooling_a_cell_has_its_own_logit():
    net = network(1, pool="tiles")
    tiles = net.layers[-4].output if "conv" in net.layers[-4].name else net.layers[4].output
    own = keras.Model(net.inputs[0], tiles).predict(BATCH, verbose=0)[..., 0]
    factor = float(net.get_layer("head").get_weights()[0][0, 0])
    attribution = explainer(net).explain(BATCH, [0])
    np.testing.assert_allclose(attribution.maps[:, 0], np.maximum(0, own * factor), atol=1e-4)


def test_weak_evidence_gives_a_weak_map():
    """tf-keras-vis stretches each map to 0..1 unless it is told not to."""
    strong = explainer(network()).explain(BATCH, [0])
    weak = explainer(network(scale=0.001)).explain(BATCH, [0])
    np.testing.assert_allclose(weak.maps, strong.maps * 0.001, rtol=1e-4, atol=1e-9)
    assert np.ptp(strong.maps.max(axis=(1, 2, 3))) > 0


def test_the_logits_are_those_of_the_same_pass():
    net = network()
    np.testing.assert_allclose(
        explainer(net).explain(BATCH, [1]).logits, net.predict(BATCH, verbose=0), atol=1e-6
    )


def test_a_batch_gives_the_maps_of_its_single_images():
    whole = explainer(network()).explain(BATCH, [0]).maps
    single = [explainer(network()).explain(BATCH[n : n + 1], [0]).maps[0] for n in range(5)]
    np.testing.assert_allclose(whole, np.stack(single), atol=1e-5)


def test_cells_lie_on_the_input_where_pooling_put_them():
    grid = explainer(network()).explain(BATCH, [0]).grid
    assert grid.to_outer((3, 5)) == (6.5, 10.5)


@pytest.mark.parametrize(
    ("layer", "why"), [("nowhere", "no layer 'nowhere'"), ("head", "rows and columns")]
)
def test_a_layer_that_cannot_be_mapped_is_refused(layer, why):
    from explain.gradcam import GradCam

    with pytest.raises(UnsupportedModel, match=why):
        GradCam(network(), layer)

"""Layers in a leaner form say what they said before, and so do their gradients."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE = 16
IMAGES = np.random.default_rng(4).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)


def network(**normalisation) -> "keras.Model":
    """With all that has a leaner form, nested: normalisation, swish, convolution of one pixel."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inner = keras.Input((SIDE, SIDE, 3))
    values = layers.Conv2D(6, 3, padding="same", use_bias=False)(inner)
    values = layers.BatchNormalization(**normalisation, name="normalised")(values)
    values = layers.Activation("swish")(values)
    values = layers.Conv2D(8, 1, activation="swish", name="pixels")(values)
    values = layers.Conv2D(8, 1, strides=2, name="strided")(values)
    values = layers.BatchNormalization(axis=1, name="rows")(values)
    values = layers.BatchNormalization(**normalisation, name="after")(values)
    image = keras.Input((SIDE, SIDE, 3))
    pooled = layers.GlobalAveragePooling2D()(keras.Model(inner, values)(image))
    whole = keras.Model(image, layers.Dense(2)(pooled))
    random = np.random.default_rng(0)
    whole.set_weights([np.abs(random.normal(1, 0.3, w.shape)) for w in whole.get_weights()])
    return whole


def said_and_slope(net, inputs) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow as tf

    @tf.function
    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            said = net(images, training=False)
            score = said[:, 0]
        return said, tape.gradient(score, images)

    said, slope = run(tf.constant(inputs))
    return said.numpy(), slope.numpy()


@pytest.mark.parametrize("normalisation", [{}, {"scale": False}, {"center": False}])
def test_answers_and_gradients_are_the_same(normalisation):
    from explain.lean import lean

    net = network(**normalisation)
    plain = said_and_slope(net, IMAGES)
    with lean(net):
        leaner = said_and_slope(net, IMAGES)
    for one, other in zip(plain, leaner, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6 * np.abs(one).max())


def test_the_layers_are_left_as_they_were():
    from explain.lean import lean

    net = network()
    layers = list(net._flatten_layers(include_self=False))
    before = [dict(vars(layer)) for layer in layers]
    with lean(net):
        changed = [
            layer.name for layer, was in zip(layers, before, strict=True) if vars(layer) != was
        ]
    assert {"normalised", "pixels"} <= set(changed)
    assert "strided" not in changed
    assert [dict(vars(layer)) for layer in layers] == before


def test_a_normalisation_joins_the_convolution_before_it_and_nothing_else():
    from explain.lean import _joins_a_convolution

    net = network()
    layers = {layer.name: layer for layer in net._flatten_layers(include_self=False)}
    assert _joins_a_convolution(layers["normalised"])
    assert not _joins_a_convolution(layers["rows"])  # its convolution adds a bias
    assert not _joins_a_convolution(layers["after"])


def test_a_normalisation_can_be_what_a_map_is_of():
    from explain.gradcam import GradCam

    net = network()
    attribution = GradCam(net, "normalised").explain(IMAGES, [0, 1])
    assert attribution.signed.shape == (2, 2, SIDE, SIDE)
    np.testing.assert_allclose(attribution.logits, net.predict(IMAGES, verbose=0), rtol=1e-4)

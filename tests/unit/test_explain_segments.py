"""Of a model that outlines, each segment is explained by the layer that decides, not by itself."""

import numpy as np
import organs
import pytest

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest

keras = pytest.importorskip("keras")
layers = keras.layers
pytestmark = pytest.mark.tensorflow

SIDE = 32
IMAGES = np.random.default_rng(7).random((2, SIDE, SIDE, 1), np.float32)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(5)


def conv(values, width, name=None, kind=layers.Conv2D):
    return layers.ReLU(name=name)(kind(width, 3, padding="same")(values))


def encoder(image):
    """The finer features, and those of the bottleneck."""
    fine = conv(image, 4)
    deep = conv(layers.MaxPooling2D(4)(fine), 6)
    return fine, conv(deep, 6, "bottleneck")


def decoder(fine, deep, channels=2, **options):
    joined = conv(layers.Concatenate()([fine, layers.UpSampling2D(4)(deep)]), 5, "decoder")
    return layers.Conv2D(channels, 1, name="masks", **options)(joined)


def unet(**options):
    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, decoder(*encoder(image), **options))


def with_backbone():
    """The encoder is a network of its own, as pretrained ones are."""
    image, inner = keras.Input((SIDE, SIDE, 1)), keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, decoder(*keras.Model(inner, encoder(inner))(image)))


def with_context():
    """What pools the whole image has no place to name, however coarse it is."""
    image = keras.Input((SIDE, SIDE, 1))
    fine, deep = encoder(image)
    whole = layers.GlobalAveragePooling2D(keepdims=True)(deep)
    return keras.Model(image, decoder(fine, layers.Multiply(name="scaled")([deep, whole])))


def beside_another_head():
    """Which is coarser, and no part of the outline."""
    image = keras.Input((SIDE, SIDE, 1))
    fine, deep = encoder(image)
    other = conv(layers.MaxPooling2D()(deep), 3)
    return keras.Model(image, [decoder(fine, deep), layers.Conv2D(1, 1)(other)])


def of_volumes():
    block = keras.Input((4, SIDE, SIDE, 1))
    fine = conv(block, 3, kind=layers.Conv3D)
    deep = conv(layers.MaxPooling3D()(fine), 4, "bottleneck", layers.Conv3D)
    joined = layers.Concatenate()([layers.UpSampling3D()(deep), fine])
    return keras.Model(block, layers.Conv3D(2, 1, name="masks")(joined))


def place(network):
    from explain.gradcam import place_of

    return place_of(network, None, 0).name


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (unet, "bottleneck"),
        (with_backbone, "bottleneck"),
        (with_context, "scaled"),
        (beside_another_head, "bottleneck"),
        (of_volumes, "bottleneck"),
    ],
)
def test_the_layer_is_the_last_of_the_bottleneck(build, name):
    assert place(build()) == name


def test_a_network_without_a_coarser_layer_is_refused_until_one_is_named():
    from explain.gradcam import place_of

    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, layers.Conv2D(2, 1, name="masks")(conv(image, 4, "early")))
    with pytest.raises(UnsupportedModel, match="'masks' is made of nothing that"):
        place(network)
    assert place_of(network, "early", 0).name == "early"


def test_the_score_is_the_mean_over_the_segments_own_pixels():
    import tensorflow as tf

    from explain.network import scores

    logits = np.full((1, 4, 4, 3), -5, np.float32)
    logits[0, 0, 0, 0], logits[0, 1, 1, 0] = 3, 1
    logits[0, 2, :, 1] = 2
    np.testing.assert_allclose(scores(tf.constant(logits)), [[2, 2, 0]])
    half = scores(tf.constant(logits), own=lambda values: values > 2)
    np.testing.assert_allclose(half, [[3, 0, 0]])


def in_two_parts():
    """Encoder and decoder, and the network that is made of them."""
    image = keras.Input((SIDE, SIDE, 1))
    first = keras.Model(image, encoder(image))
    given = [keras.Input(each.shape[1:]) for each in first.outputs]
    second = keras.Model(given, decoder(*given))
    start = keras.Input((SIDE, SIDE, 1))
    return first, second, keras.Model(start, second(first(start)))


def test_grad_cam_of_a_segment_is_that_of_its_mean_logit():
    """Against the gradient, taken by hand."""
    import tensorflow as tf

    from explain.gradcam import GradCam

    first, second, network = in_two_parts()
    found = GradCam(network).explain(IMAGES, [0, 1])
    assert found.signed.shape == (2, 2, 8, 8)
    fine, deep = first(IMAGES)
    for target in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch(deep)
            said = second([fine, deep])[..., target]
            own = tf.cast(said > 0, tf.float32)
            score = tf.reduce_sum(said * own, [1, 2]) / tf.reduce_sum(own, [1, 2])
        weights = tf.reduce_sum(tape.gradient(score, deep), [1, 2], keepdims=True)
        by_hand = tf.reduce_sum(deep * weights, -1)
        np.testing.assert_allclose(found.signed[:, target], by_hand, rtol=1e-3, atol=1e-5)


def test_a_volume_has_a_map_with_slices():
    from explain.gradcam import GradCam

    blocks = np.random.default_rng(3).random((1, 4, SIDE, SIDE, 1), np.float32)
    found = GradCam(of_volumes(), weighting="hirescam").explain(blocks, [0, 1])
    assert found.signed.shape == (1, 2, 2, SIDE // 2, SIDE // 2)


@pytest.mark.parametrize("method", ["scorecam", "occlusion", "integrated-gradients"])
def test_methods_of_many_passes_explain_it_too(method):
    from explain.methods import explainer

    found = explainer(unet(), ExplanationPlan(method=method, full_scale=1), [0, 1])
    assert found.explain(IMAGES, [0, 1]).maps.max() > 0


def test_while_the_image_is_covered_the_pixels_asked_about_stay_the_same():
    """Else what is left of an outline would be as sure as all of it, and nothing would matter."""
    from explain.methods import explainer

    image = keras.Input((SIDE, SIDE, 1))
    logits = layers.Conv2D(1, 1, name="masks")
    network = keras.Model(image, logits(image))
    logits.set_weights([np.full((1, 1, 1, 1), 4.0), np.array([-2.0])])
    square = np.zeros((1, SIDE, SIDE, 1), np.float32)
    square[0, 8:24, 8:24] = 1
    asked = explainer(network, ExplanationPlan(method="occlusion", full_scale=1), [0])
    own = np.float32(square[None, ..., 0] / square.sum())
    expected = asked.explain(square, [0], own).signed
    assert expected.max() > 0.1
    np.testing.assert_allclose(asked.explain(square, [0]).signed, expected, atol=1e-5)


def served(threshold, **options):
    from workers.keras_model import KerasModel

    made = organs.manifest(thresholds=(threshold, threshold), shape=(SIDE, SIDE, 1))
    return KerasModel(ModelManifest.model_validate(made), unet(**options))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_a_segments_own_pixels_are_those_at_its_operating_point(activation):
    import tensorflow as tf

    for threshold in (0.2, 0.5, 0.8):
        model = served(threshold, activation=activation)
        logits = np.random.default_rng(1).normal(0, 2, (1, 4, 4, 2)).astype(np.float32)
        own = np.asarray(model._own(tf.constant(logits)))
        np.testing.assert_array_equal(own, model.mask_probabilities(logits) >= threshold)
        assert 0 < own.mean() < 1


def test_a_model_that_outlines_and_says_not_how_it_is_explained_has_no_map():
    made = ModelManifest.model_validate({**organs.manifest(), "explanation": {"method": "none"}})
    assert made.explained is None


def test_beside_a_background_each_segment_has_the_probability_of_all_channels_together():
    """As nnU-Net gives them: the background is no segment, and none is drawn of it."""
    from workers.keras_model import KerasModel

    made = organs.manifest(shape=(SIDE, SIDE, 1))
    made["outputs"][0]["background"] = True
    network = unet(channels=3, activation="softmax")
    model = KerasModel(ModelManifest.model_validate(made), network)
    said = model.predict(IMAGES)
    likely = model.mask_probabilities(said.mask_logits)
    np.testing.assert_allclose(likely, network.predict(IMAGES, verbose=0)[..., 1:], atol=1e-5)
    assert said.attribution.maps.shape == (2, 2, 8, 8)
    assert model.explainer().layer == "bottleneck"

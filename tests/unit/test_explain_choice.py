"""A manifest names a method: it serves the model, or the model is refused at load."""

from datetime import datetime
from typing import get_args

import numpy as np
import pytest

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ExplanationPlan
from dicom_node.domain.provenance import Provenance
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

ALL_METHODS = get_args(ExplanationPlan.model_fields["method"].annotation)
METHODS = [method for method in ALL_METHODS if method not in ("shapley", "none")]
SIDE = 32
IMAGES = np.random.default_rng(0).random((2, SIDE, SIDE, 1), np.float32)
SPOT = (slice(20, 28), slice(4, 12))


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(5)


def cells(values, name="last", filters=5):
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(values)


def network(units=2):
    image = keras.Input((SIDE, SIDE, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(cells(cells(image, "first", 3)))
    return keras.Model(image, keras.layers.Dense(units, name="head")(pooled))


def explainer(net, method, targets=(0, 1), **plan):
    from explain.methods import explainer

    return explainer(net, ExplanationPlan(method=method, full_scale=1, **plan), targets)


def brightness():
    """A logit at each pixel: how bright it and its neighbours are; and the same negated."""
    image = keras.Input((SIDE, SIDE, 1))
    values = keras.layers.Conv2D(1, 3, padding="same", name="last", use_bias=False)(image)
    signs = keras.layers.Conv2D(2, 1, use_bias=False, name="masks")
    masks = signs(values)
    net = keras.Model(image, masks)
    net.get_layer("last").set_weights([np.full((3, 3, 1, 1), 1 / 9, np.float32)])
    signs.set_weights([np.array([1, -1], np.float32).reshape(1, 1, 1, 2)])
    return net


@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_a_manifest_may_name_explains(method):
    from explain.methods import METHODS as SERVED

    assert set(SERVED) == set(METHODS)
    net = network()
    attribution = explainer(net, method).explain(IMAGES, [0, 1])
    assert attribution.signed.shape == (2, 2, SIDE, SIDE)
    assert attribution.grid.outer == (SIDE, SIDE)
    np.testing.assert_allclose(attribution.logits, net.predict(IMAGES, verbose=0), atol=1e-5)


def test_class_activation_is_the_heads_own_weights_and_has_its_own_code():
    net = network()
    method = explainer(net, "cam")
    values = keras.Model(net.inputs[0], net.get_layer("last").output).predict(IMAGES, verbose=0)
    expected = np.einsum("brcf,ft->btrc", values, net.get_layer("head").get_weights()[0])
    np.testing.assert_allclose(method.explain(IMAGES, [0, 1]).signed, expected, atol=1e-5)
    assert method.method.value == "130402"


@pytest.mark.parametrize("between", ["flatten", "hidden", "maximum"])
def test_class_activation_needs_a_head_that_averages(between):
    image = keras.Input((SIDE, SIDE, 1))
    values = cells(image)
    layers = {
        "flatten": [keras.layers.Flatten()],
        "hidden": [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "relu")],
        "maximum": [keras.layers.GlobalMaxPooling2D()],
    }
    for layer in layers[between]:
        values = layer(values)
    net = keras.Model(image, keras.layers.Dense(2)(values))
    with pytest.raises(UnsupportedModel, match="explain this model by gradcam"):
        explainer(net, "cam")
    explainer(net, "gradcam")


def test_a_model_that_a_method_cannot_explain_is_refused_at_load():
    image = keras.Input((SIDE, SIDE, 1))
    rounded = keras.Model(image, network()(keras.ops.round(image)))
    for method in ("saliency", "smoothgrad", "integrated-gradients"):
        with pytest.raises(UnsupportedModel, match="explain it by occlusion or rise"):
            explainer(rounded, method)
    tokens = keras.layers.Reshape((16, SIDE * SIDE // 16))(image)
    mixed = keras.layers.Dense(4, name="tokens")(tokens)
    flat = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling1D()(mixed)))
    with pytest.raises(UnsupportedModel, match="cells lie on the image"):
        explainer(flat, "scorecam")
    with pytest.raises(UnsupportedModel, match="not occlusion"):
        explainer(network(), "occlusion", depths=3)
    with pytest.raises(UnsupportedModel, match="shapley is no method for a network"):
        explainer(network(), "shapley")


@pytest.mark.parametrize("method", ["gradcam", "layercam", "integrated-gradients", "occlusion"])
def test_one_segment_of_an_image_is_explained_by_its_own_pixels(method):
    """Of two bright squares, what speaks for the mask in one of them is that one alone."""
    images = np.zeros((1, SIDE, SIDE, 1), np.float32)
    images[0, *SPOT] = images[0, 4:12, 20:28] = 1
    where = np.zeros((1, 1, SIDE, SIDE), np.float32)
    where[0, 0, *SPOT] = 1
    layer = "last" if method in ("gradcam", "layercam") else None
    asked = explainer(brightness(), method, layer=layer)
    values = asked.explain(images, [0], where).maps[0, 0]
    if method == "gradcam":  # one weight for all cells: both squares, the whole sum
        assert values[SPOT].sum() == pytest.approx(values[4:12, 20:28].sum())
        return
    assert values[SPOT].sum() > 20 * values[4:12, 20:28].sum()
    both = asked.explain(images, [0]).maps[0, 0]
    assert both[SPOT].sum() == pytest.approx(both[4:12, 20:28].sum(), rel=0.2)


def test_one_box_of_a_detector_is_explained():
    image = keras.Input((SIDE, SIDE, 1))
    boxes = keras.layers.AveragePooling2D(8)(brightness()(image))
    net = keras.Model(image, keras.layers.Reshape((16, 2))(boxes))
    images = np.zeros((1, SIDE, SIDE, 1), np.float32)
    images[0, 16:24, 8:16] = images[0, 0:8, 24:32] = 1
    box = np.zeros((1, 1, 16), np.float32)
    box[0, 0, 2 * 4 + 1] = 1  # third row of boxes, second of its columns
    for method in ("hirescam", "saliency", "integrated-gradients", "occlusion"):
        values = explainer(net, method, layer="last" if method == "hirescam" else None).explain(
            images, [0], box
        )
        (map_,) = values.maps[0]
        assert 15 < np.average(np.arange(SIDE), weights=map_.sum(axis=1)) < 25
        assert 7 < np.average(np.arange(SIDE), weights=map_.sum(axis=0)) < 17


def test_what_lowered_a_number_is_asked_for_by_its_sign():
    net, sign = network(1), np.full((2, 1), -1, np.float32)
    net.get_layer("head").set_weights([np.float32([[1], [-1], [1], [-1], [1]]), np.zeros(1)])
    for method in ("gradcam", "saliency", "occlusion"):
        asked = explainer(net, method, targets=[0])
        raised = asked.explain(IMAGES, [0]).signed
        np.testing.assert_allclose(asked.explain(IMAGES, [0], sign).signed, -raised, atol=1e-5)
    positive = explainer(net, "layercam", targets=[0])
    up, down = (positive.explain(IMAGES, [0], each).maps for each in (-sign, sign))
    assert up.max() > 0
    assert down.max() > 0
    assert np.abs(up - down).max() > 0.1 * up.max()


@pytest.mark.parametrize("method", ["gradcam", "integrated-gradients", "occlusion", "rise"])
def test_of_a_sequence_of_slices_those_that_mattered_are_found(method):
    slices, each = keras.Input((6, SIDE, SIDE, 1)), keras.Input((SIDE, SIDE, 1))
    middle = keras.Model(each, keras.layers.GlobalAveragePooling2D()(brightness()(each)))
    values = keras.layers.TimeDistributed(middle)(slices)
    net = keras.Model(slices, keras.layers.GlobalMaxPooling1D()(values))
    images = np.zeros((1, 6, SIDE, SIDE, 1), np.float32)
    images[0, 4, *SPOT] = 1
    signed = explainer(net, method).explain(images, [0]).signed[0, 0]
    by_slice = np.abs(signed).reshape(6, -1).sum(axis=1)
    assert by_slice.argmax() == 4
    if method in ("integrated-gradients", "occlusion"):
        assert np.abs(signed[4][SPOT]).sum() >= 0.15 * np.abs(signed).sum()


def test_a_batch_larger_than_what_fits_at_once_gives_the_same_maps():
    from explain.gradcam import GradCam

    net, batch = network(), IMAGES.repeat(3, axis=0)
    whole, split = (GradCam(net, at_once=n).explain(batch, [0, 1]) for n in (6, 4))
    np.testing.assert_allclose(split.signed, whole.signed, atol=1e-5)
    np.testing.assert_allclose(split.outputs[0], whole.outputs[0], atol=1e-5)


def served(method: str):
    from workers.keras_model import KerasModel

    whole = parse(manifest_text())
    head, segments = whole.outputs
    image = keras.Input((SIDE, SIDE, 1))
    last = cells(image)
    pooled = keras.layers.GlobalAveragePooling2D()(last)
    outputs = [
        keras.layers.Dense(1, name="head")(pooled),
        keras.layers.Conv2D(2, 1, name="masks")(last),
    ]
    steps = [s.model_copy(update={"rows": SIDE, "columns": SIDE}) for s in whole.preprocess[1:]]
    manifest = whole.model_copy(
        update={
            "input": whole.input.model_copy(update={"shape": (SIDE, SIDE, 1)}),
            "preprocess": (whole.preprocess[0], *steps),
            "outputs": (
                head.model_copy(update={"layer": "head"}),
                segments.model_copy(update={"layer": "masks"}),
            ),
            "explanation": ExplanationPlan(method=method, full_scale=1),
        }
    )
    return KerasModel(manifest, keras.Model(image, outputs))


def test_a_model_of_volumes_is_explained_in_one_pass_or_refused_at_load():
    model = served("gradcam")
    unit = model.manifest.input.model_copy(update={"unit": "volume"})
    model.manifest = model.manifest.model_copy(update={"input": unit})
    plan = model.manifest.explanation
    assert model.explained_by(plan).one_pass
    with pytest.raises(UnsupportedModel, match="rise explains key slices"):
        model.explained_by(plan.model_copy(update={"method": "rise"}))


@pytest.mark.parametrize("method", ["layercam", "integrated-gradients"])
def test_what_costs_many_passes_is_done_on_the_key_slice_alone(method):
    from workers.analysis import analyse_images

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(4))
    pixels = np.random.default_rng(3).normal(40, 80, (4, 40, 40)).astype(np.float32)
    images = SourceImages((), frames, pixels, affine)
    provenance = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))
    analysis = analyse_images(images, served(method), provenance)
    (finding, *_) = analysis.findings
    peaks = finding.explanation.saliency.values.max(axis=(1, 2))
    assert peaks[finding.frame] > 0
    others = np.delete(peaks, finding.frame)
    assert (others > 0).all() if method == "layercam" else (others == 0).all()

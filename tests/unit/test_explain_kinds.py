"""The 29 kinds of model of the catalogue: each is explained, or refused at load in one sentence."""

import re

import numpy as np
import pytest

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIDE, CELLS = 16, 8
RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.random((2, SIDE, SIDE, 1), np.float32)
VOLUMES = RANDOM.random((2, 4, SIDE, SIDE, 1), np.float32)
MAP, VOLUME = (CELLS, CELLS), (4, CELLS, CELLS)


def image(channels=1, **options):
    return keras.Input((SIDE, SIDE, channels), **options)


def features(values, name="last"):
    values = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(values)
    values = keras.layers.MaxPooling2D()(values)
    return keras.layers.Conv2D(5, 3, padding="same", activation="relu", name=name)(values)


def pooled(values, units=2):
    return keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(values))


def plain(units=2, **options):
    start = image(**options)
    return keras.Model(start, pooled(features(start), units))


def under(policy):
    keras.config.set_dtype_policy(policy)
    try:
        return plain()
    finally:
        keras.config.set_dtype_policy("float32")


def ending_in(activation):
    """As the worker serves it: the logits before the activation, of the same weights."""
    from workers.heads import heads
    from workers.training.phantom_text import manifest_text
    from workers.training.text import parse

    start = image()
    values = keras.layers.GlobalAveragePooling2D()(features(start))
    network = keras.Model(start, keras.layers.Dense(2, activation=activation, name="head")(values))
    whole = parse(manifest_text())
    plan = whole.outputs[0].model_copy(
        update={"layer": "head", "targets": whole.outputs[0].targets * 2}
    )
    manifest = whole.model_copy(update={"outputs": (plan,)})
    (head,) = heads(network, manifest).values()
    return keras.Model(start, head.values)


def saved(form, tmp_path):
    network = plain()
    network.save(tmp_path / f"model{form}")
    return keras.saving.load_model(tmp_path / f"model{form}", compile=False)


def two_images():
    starts = [image(), image()]
    return keras.Model(starts, pooled(features(keras.layers.Concatenate()(starts))))


def with_vector(*, named=False):
    starts = {"image": image(name="image"), "age": keras.Input((1,), name="age")}
    values = keras.layers.GlobalAveragePooling2D()(features(starts["image"]))
    logits = keras.layers.Dense(2)(keras.layers.Concatenate()([values, starts["age"]]))
    return keras.Model(starts if named else list(starts.values()), logits)


def outputs(*, named):
    start = image()
    last = features(start)
    both = {"finding": pooled(last), "masks": keras.layers.Conv2D(3, 1)(last)}
    return keras.Model(start, both if named else list(both.values()))


def nested(depth=1):
    start, inner = image(), image()
    last = features(inner)
    network = keras.Model(inner, last)
    for _ in range(depth - 1):
        outer = image()
        network = keras.Model(outer, network(outer))
    return keras.Model(start, pooled(network(start)))


def volume():
    start = keras.Input((4, SIDE, SIDE, 1))
    values = keras.layers.MaxPooling3D((1, 2, 2))(start)
    values = keras.layers.Conv3D(4, 3, padding="same", activation="relu", name="last")(values)
    return keras.Model(start, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling3D()(values)))


def slices():
    start, each = keras.Input((4, SIDE, SIDE, 1)), image()
    vector = keras.Model(each, keras.layers.GlobalAveragePooling2D()(features(each)))
    values = keras.layers.TimeDistributed(vector)(start)
    return keras.Model(start, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling1D()(values)))


def segmenting():
    start = image()
    return keras.Model(start, keras.layers.Conv2D(3, 1)(features(start)))


def detecting():
    """One box at each of the cells: its logits of two classes."""
    start = image()
    logits = keras.layers.Conv2D(2, 1)(features(start))
    return keras.Model(start, keras.layers.Reshape((CELLS * CELLS, 2))(logits))


def sequential():
    layers = keras.layers
    return keras.Sequential(
        [image(), layers.MaxPooling2D(), layers.Conv2D(4, 3, padding="same", name="last"),
         layers.Flatten(), layers.Dense(2)]
    )  # fmt: skip


def whole_numbers():
    start = image(dtype="uint8")
    return keras.Model(start, pooled(features(keras.layers.Rescaling(1 / 255)(start))))


def without_channels():
    start = keras.Input((SIDE, SIDE))
    return keras.Model(start, pooled(features(keras.layers.Reshape((SIDE, SIDE, 1))(start))))


def from_saved_model(tmp_path):
    plain().export(tmp_path / "saved", verbose=False)
    layer = keras.layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")
    start = image()
    return keras.Model(start, layer(start))


class Written(keras.Model):
    """A network whose graph is written in code."""

    def __init__(self):
        super().__init__()
        self.last = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="last")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(2)

    def call(self, values):
        return self.head(self.pool(self.last(values)))


def written():
    network = Written()
    network(IMAGES)
    return network


AGE = np.ones((2, 1), np.float32)
KINDS = {
    "softmax": (lambda _: ending_in("softmax"), IMAGES, MAP),
    "sigmoid": (lambda _: ending_in("sigmoid"), IMAGES, MAP),
    "several labels": (lambda _: plain(5), IMAGES, MAP),
    "a number (regression)": (lambda _: plain(1), IMAGES, MAP),
    "a batch of one": (lambda _: plain(), IMAGES[:1], MAP),
    "a batch of four": (lambda _: plain(), IMAGES.repeat(2, axis=0), MAP),
    "three channels": (lambda _: plain(channels=3), IMAGES.repeat(3, axis=-1), MAP),
    "any size": (lambda _: _any_size(), IMAGES, MAP),
    "float64": (lambda _: under("float64"), IMAGES, MAP),
    "float16": (lambda _: under("mixed_float16"), IMAGES, MAP),
    "bfloat16": (lambda _: under("mixed_bfloat16"), IMAGES, MAP),
    ".keras": (lambda folder: saved(".keras", folder), IMAGES, MAP),
    ".h5": (lambda folder: saved(".h5", folder), IMAGES, MAP),
    "a sequence of layers": (lambda _: sequential(), IMAGES, MAP),
    "a nested backbone": (lambda _: nested(), IMAGES, MAP),
    "a backbone in a backbone": (lambda _: nested(2), IMAGES, MAP),
    "two images": (lambda _: two_images(), [IMAGES, IMAGES], MAP),
    "image and vector": (lambda _: with_vector(), [IMAGES, AGE], MAP),
    "inputs by name": (lambda _: with_vector(named=True), {"image": IMAGES, "age": AGE}, MAP),
    "a list of outputs": (lambda _: outputs(named=False), IMAGES, MAP),
    "outputs by name": (lambda _: outputs(named=True), IMAGES, MAP),
    "segmentation": (lambda _: segmenting(), IMAGES, MAP),
    "detection": (lambda _: detecting(), IMAGES, MAP),
    "volumes": (lambda _: volume(), VOLUMES, VOLUME),
    "a sequence of slices": (lambda _: slices(), VOLUMES, (4,)),
    "written as a class": (lambda _: written(), IMAGES, "name it as explanation.layer"),
    "a SavedModel": (from_saved_model, IMAGES, "no activation with rows and columns"),
    "whole numbers as input": (lambda _: whole_numbers(), IMAGES * 200, MAP),
    "no axis of channels": (lambda _: without_channels(), IMAGES[..., 0], MAP),
}
GRADIENTS = ("saliency", "smoothgrad", "integrated-gradients")
SCORECAMS = ("scorecam", "scorecam-pruned")
ON_THE_IMAGE = (*GRADIENTS, "occlusion", "rise")
NOT_AVERAGED = (
    "a sequence of layers",
    "image and vector",
    "inputs by name",
    "segmentation",
    "detection",
    "a sequence of slices",
)
REFUSED = {
    **{(kind, "cam"): "needs a head that averages" for kind in NOT_AVERAGED},
    **{("written as a class", method): None for method in ON_THE_IMAGE},
    **{("a SavedModel", method): None for method in ON_THE_IMAGE},
    **{("whole numbers as input", method): "no gradient at its image" for method in GRADIENTS},
    **{
        ("no axis of channels", method): "no input of the model has rows"
        for method in (*SCORECAMS, *ON_THE_IMAGE)
    },
}
"""What differs from Grad-CAM; none: it is explained."""


def _any_size():
    start = keras.Input((None, None, 1))
    return keras.Model(start, pooled(features(start)))


def loaded(network, method):
    from explain.methods import explainer

    return explainer(network, ExplanationPlan(method=method, full_scale=1), [0], at_once=64)


def first_case(inputs):
    return keras.tree.map_structure(lambda values: values[:1], inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_each_method_explains_it_or_refuses_it_at_load_in_one_sentence(kind, tmp_path):
    from explain.methods import METHODS

    keras.utils.set_random_seed(5)
    build, inputs, expected = KINDS[kind]
    network = build(tmp_path)
    for method in METHODS:
        refusal = REFUSED.get((kind, method), expected if isinstance(expected, str) else None)
        if refusal:
            with pytest.raises(UnsupportedModel, match=re.escape(refusal)) as caught:
                loaded(network, method)
            assert ". " not in str(caught.value)
            continue
        explainer = loaded(network, method)
        given = inputs if explainer.one_pass else first_case(inputs)
        images = max(keras.tree.flatten(given), key=np.ndim)
        signed = explainer.explain(given, [0]).signed
        cells = expected if explainer.one_pass else images.shape[1:-1]
        assert signed.shape == (len(images), 1, *cells), method
        assert signed.dtype == np.float32
        assert signed.any(), method


def test_there_are_29_of_them():
    assert len(KINDS) == 29

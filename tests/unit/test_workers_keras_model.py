"""A Keras model is asked for logits, whatever its heads end in, and brings no code along."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from log_lines import log_lines

from dicom_node.catalog import BundleFolder, Catalog
from dicom_node.domain.errors import CorruptBundle, UnsupportedModel, UnusableOutput
from workers.bootstrap import Worker
from workers.bundle import write_bundle
from workers.loading import load_model
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE = 16
BATCH = np.random.default_rng(0).random((3, SIDE, SIDE, 1), np.float32)


def manifest(targets: int = 1, **target: object):
    """The shipped manifest on small slices, with heads called ``head`` and ``masks``."""
    whole = parse(manifest_text())
    classification, segmentation = whole.outputs
    each = classification.targets[0].model_copy(update=target)
    return whole.model_copy(
        update={
            "input": whole.input.model_copy(update={"shape": (SIDE, SIDE, 1)}),
            "outputs": (
                classification.model_copy(update={"layer": "head", "targets": (each,) * targets}),
                segmentation.model_copy(update={"layer": "masks"}),
            ),
        }
    )


def network(activation: str = "linear", units: int = 1, *, apart: bool = False):
    """Two heads; with ``apart`` the activation of the first is a layer of its own."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 1))
    features = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="features")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    if apart:
        logits = keras.layers.Dense(units, name="logits")(pooled)
        head = keras.layers.Activation(activation, name="head")(logits)
    else:
        head = keras.layers.Dense(units, activation=activation, name="head")(pooled)
    masks = keras.layers.Conv2D(2, 1, activation="sigmoid", name="masks")(features)
    return keras.Model(image, [head, masks])


def model(net, **changes):
    from workers.keras_model import KerasModel

    return KerasModel(manifest(**changes), net)


def bundle(folder: Path, net) -> BundleFolder:
    folder.mkdir(exist_ok=True)
    net.save(folder / "saved.keras")
    written = write_bundle(folder / "bundle", manifest_text(), folder / "saved.keras", "")
    return replace(written, manifest=manifest())


@pytest.mark.parametrize("apart", [False, True], ids=["in the layer", "a layer of its own"])
@pytest.mark.parametrize("activation", ["linear", "sigmoid", "softmax"])
def test_logits_come_before_the_activation_and_the_model_is_not_changed(activation, apart):
    net = network(activation, units=3, apart=apart)
    before = net.predict(BATCH, verbose=0)
    served = model(net, targets=3)
    output = served.predict(BATCH)
    bare = network("linear", units=3)
    bare.set_weights(net.get_weights())
    np.testing.assert_allclose(output.logits, bare.predict(BATCH, verbose=0)[0], rtol=1e-5)
    for now, then in zip(net.predict(BATCH, verbose=0), before, strict=True):
        np.testing.assert_array_equal(now, then)
    if activation != "linear":
        np.testing.assert_allclose(served.probabilities(output.logits), before[0], rtol=1e-4)
    np.testing.assert_allclose(served.mask_probabilities(output.mask_logits), before[1], rtol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_logits_follow_the_weights_of_the_network(activation):
    """A head whose logits kept a copy was left out of randomised weights and of what was taught."""
    net = network(activation, units=3)
    served = model(net, targets=3)
    head = net.get_layer("head")
    head.set_weights([np.zeros_like(each) for each in head.get_weights()])
    assert not served.predict(BATCH).logits.any()


def test_a_temperature_softens_probabilities():
    logits = np.array([[4.0]], np.float32)
    assert model(network()).probabilities(logits)[0, 0] == pytest.approx(0.982, abs=1e-3)
    assert model(network(), temperature=2.0).probabilities(logits)[0, 0] == pytest.approx(
        0.881, abs=1e-3
    )


def test_a_short_last_batch_gives_the_same_numbers():
    served = model(network())
    np.testing.assert_allclose(
        served.predict(BATCH[:1]).logits, served.predict(BATCH).logits[:1], atol=1e-6
    )


def test_other_activations_are_refused():
    with pytest.raises(UnsupportedModel, match="tanh"):
        model(network("tanh"))


def sure(pooled):
    return keras.layers.Dense(1, activation="sigmoid", name="sure")(pooled)


def nested(pooled):
    inner = keras.Input(pooled.shape[1:])
    return keras.Model(inner, sure(inner), name="head")(pooled)


def ensemble(pooled):
    other = keras.layers.Dense(1, activation="sigmoid")(pooled)
    return keras.layers.Average(name="head")([sure(pooled), other])


def reshaped(pooled):
    return keras.layers.Reshape((1,), name="head")(keras.layers.Dropout(0.1)(sure(pooled)))


def in_single_precision(pooled):
    return keras.layers.Activation("linear", dtype="float32", name="head")(sure(pooled))


def each_alone(pooled):
    dense = keras.layers.Dense(1, activation="sigmoid", name="sure")
    row = keras.layers.TimeDistributed(dense)(keras.layers.Reshape((1, 4))(pooled))
    return keras.layers.Flatten(name="head")(row)


def headed(head, batch_shape=(None, SIDE, SIDE, 1)):
    image = keras.Input(batch_shape=batch_shape)
    features = keras.layers.Conv2D(4, 3, activation="relu", name="features")(image)
    masks = keras.layers.Conv2D(2, 1, name="masks")(features)
    return keras.Model(image, [head(keras.layers.GlobalAveragePooling2D()(features)), masks])


@pytest.mark.parametrize("head", [nested, ensemble, reshaped, in_single_precision, each_alone])
def test_probabilities_that_would_be_read_as_logits_are_refused(head):
    """A probability of 2 % would be told as one of 50.5 %."""
    with pytest.raises(UnsupportedModel, match="'head' hands on the probabilities of 'sure'"):
        model(headed(head))


def test_logits_may_be_handed_on():
    def pooled_logits(pooled):
        gate = keras.layers.Multiply()([pooled, keras.layers.Dense(4, "sigmoid")(pooled)])
        return keras.layers.Reshape((1,), name="head")(keras.layers.Dense(1)(gate))

    assert model(headed(pooled_logits)).predict(BATCH).logits.shape == (3, 1)


@pytest.mark.parametrize("key", ["exclusive", "background"])
def test_a_sigmoid_whose_channels_are_said_to_share_one_probability_is_refused(key):
    said = manifest(targets=3)
    classification, segmentation = said.outputs
    if key == "exclusive":
        classification = classification.model_copy(update={key: True})
    else:
        segmentation = segmentation.model_copy(update={key: True})
    said = said.model_copy(update={"outputs": (classification, segmentation)})
    from workers.keras_model import KerasModel

    with pytest.raises(UnsupportedModel, match=f"sigmoid, and {key}"):
        KerasModel(said, network("sigmoid", units=3))


def test_a_layer_that_remembers_the_patient_before_is_refused():
    def remembering(pooled):
        row = keras.layers.Reshape((2, 2))(pooled)
        return keras.layers.Dense(1, name="head")(keras.layers.LSTM(3, stateful=True)(row))

    with pytest.raises(UnsupportedModel, match="stateful=False"):
        model(headed(remembering, (3, SIDE, SIDE, 1)))


def test_a_network_of_one_size_of_batch_is_told_so():
    def alone(pooled):
        return keras.layers.Dense(1, name="head")(keras.ops.reshape(pooled, (1, -1)))

    served = model(headed(alone, (1, SIDE, SIDE, 1)))
    with pytest.raises(UnsupportedModel, match="3 inputs at once"):
        served.predict(BATCH)


def test_a_layer_that_is_not_there_is_refused_by_name():
    net = network()
    with pytest.raises(UnsupportedModel, match="masks"):
        model(keras.Model(net.inputs[0], net.outputs[0]))


def test_67_another_number_of_targets_is_refused():
    with pytest.raises(UnusableOutput):
        model(network(units=2))


def test_another_input_is_refused():
    image = keras.Input((8, 8, 1))
    head = keras.layers.Dense(1, name="head")(keras.layers.Flatten()(image))
    with pytest.raises(UnsupportedModel, match=r"input\.shape"):
        model(keras.Model(image, head))


def test_67_an_answer_that_is_no_number_is_refused():
    net = network()
    net.get_layer("head").bias.assign([np.nan])
    with pytest.raises(UnusableOutput):
        model(net).predict(BATCH)


def test_a_saved_bundle_gives_the_numbers_of_the_network_in_memory(tmp_path):
    net = network("sigmoid")
    served = load_model(bundle(tmp_path, net))
    expected = net.predict(BATCH, verbose=0)[0]
    np.testing.assert_allclose(
        served.probabilities(served.predict(BATCH).logits), expected, rtol=1e-4
    )
    assert served.versions["keras"] == keras.__version__


def test_74_a_lambda_is_refused(tmp_path):
    net = network()
    doubled = keras.layers.Lambda(lambda values: values * 2)(net.outputs[0])
    with pytest.raises(CorruptBundle) as caught:
        load_model(bundle(tmp_path, keras.Model(net.inputs[0], [doubled, net.outputs[1]])))
    assert caught.value.code == "BUNDLE_CODE"


def test_74_a_custom_layer_is_refused_even_where_it_is_registered(tmp_path):
    @keras.saving.register_keras_serializable("ours")
    class Doubled(keras.layers.Layer):
        def call(self, values):
            return values * 2

    net = network()
    doubled = Doubled()(net.outputs[0])
    with pytest.raises(CorruptBundle) as caught:
        load_model(bundle(tmp_path, keras.Model(net.inputs[0], [doubled, net.outputs[1]])))
    assert caught.value.code == "BUNDLE_CODE"


def changed(folder: Path) -> BundleFolder:
    written = bundle(folder, network())
    (written.path / "card.md").write_text("another card")
    return written


def crowded(folder: Path) -> BundleFolder:
    written = bundle(folder, network())
    (written.path / "setup.py").touch()
    return written


def coded(folder: Path) -> BundleFolder:
    net = network()
    doubled = keras.layers.Lambda(lambda values: values * 2)(net.outputs[0])
    return bundle(folder, keras.Model(net.inputs[0], [doubled, net.outputs[1]]))


def rewritten(folder: Path, **members: bytes) -> BundleFolder:
    """With other contents of ``config`` or ``weights``."""
    saved = bundle(folder, network()).path / "model.keras"
    with zipfile.ZipFile(saved) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "other.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, members.get(name.split(".")[-2], content))
    return write_bundle(folder / "other", manifest_text(), folder / "other.keras", "")


def weightless(folder: Path) -> BundleFolder:
    return rewritten(folder, weights=b"weights")


def boastful(folder: Path) -> BundleFolder:
    """Its head wants 20 billion numbers, and has the weights of a small one."""
    with zipfile.ZipFile(bundle(folder / "small", network()).path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    (head,) = (layer for layer in config["config"]["layers"] if layer["name"] == "head")
    head["config"]["units"] = 5_000_000_000
    return rewritten(folder, config=json.dumps(config).encode())


def bomb(folder: Path) -> BundleFolder:
    return rewritten(folder, config=bytes(32 << 20))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (changed, "SIGNATURE"),
        (crowded, "BUNDLE_PATH"),
        (bomb, "BUNDLE_SIZE"),
        (coded, "BUNDLE_CODE"),
        (weightless, "BUNDLE_WEIGHTS"),
        (boastful, "BUNDLE_WEIGHTS"),
    ],
)
def test_72_to_75_what_a_worker_does_not_load_stands_in_the_log(tmp_path, make, code):
    made = make(tmp_path)
    with log_lines() as lines, pytest.raises(CorruptBundle):
        Worker(None, None, None, Catalog((made,))).model(made)
    (line,) = lines
    assert (line["event"], line["reason"], line["model"]) == ("bundle.reject", code, made.id)


def test_layers_that_want_more_than_the_weights_have_are_refused_before_any_is_made(
    tmp_path, monkeypatch
):
    made = boastful(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
        with pytest.raises(CorruptBundle, match=r"no room for the 25,000,000,\d+ numbers"):
            load_model(made)
    with keras.StatelessScope():
        pass  # gives values to all variables that wait for one
    assert load_model(bundle(tmp_path / "right", network())).predict(BATCH)


def test_a_network_that_fits_into_no_memory_is_refused(tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    tf = pytest.importorskip("tensorflow")
    made = bundle(tmp_path, network())
    monkeypatch.setattr(keras.saving, "load_model", exhausted)
    with pytest.raises(CorruptBundle) as caught:
        load_model(made)
    assert caught.value.code == "BUNDLE_SIZE"


def test_a_broken_weights_file_is_refused(tmp_path):
    saved = bundle(tmp_path, network()).path / "model.keras"
    data = bytearray(saved.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    (tmp_path / "broken.keras").write_bytes(data)
    written = write_bundle(tmp_path / "b", manifest_text(), tmp_path / "broken.keras", "")
    with pytest.raises(CorruptBundle) as caught:
        load_model(written)
    assert caught.value.code == "BUNDLE_CODE"

"""One compiled call explains every kind of network, and agrees with tf-keras-vis where that can."""

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.errors import UnsupportedModel

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIDE = 32
TARGETS = [0, 1]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


IMAGES = drawn(3, SIDE, SIDE, 1)


def explained(network, inputs=IMAGES, layer=None, targets=TARGETS, **options):
    from explain.gradcam import GradCam

    method = GradCam(network, layer, **options)
    method.prepare(targets)
    return method, method.explain(inputs, targets)


def conv(values, filters=5, name=None):
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(values)


def small(values):
    return conv(keras.layers.MaxPooling2D()(conv(values)), name="last")


def pooled(values, units=2):
    return keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(values))


def class_activation(features: np.ndarray, dense) -> np.ndarray:
    """What theory gives under average pooling, (batch, targets, rows, columns)."""
    return np.einsum("bijc,ct->btij", features, dense.get_weights()[0])


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(5)


FAMILIES = [
    ("VGG16", "block5_pool"),
    ("MobileNet", "conv_pw_13_relu"),
    ("MobileNetV2", "out_relu"),
    ("MobileNetV3Small", "activation_17"),
    ("DenseNet121", "relu"),
    ("EfficientNetB0", "top_activation"),
    ("EfficientNetV2B0", "top_activation"),
    ("ResNet50", "conv5_block3_out"),
    ("ResNet50V2", "post_relu"),
    ("Xception", "block14_sepconv2_act"),
    ("NASNetMobile", "activation_187"),
    ("InceptionV3", "mixed10"),
    ("ConvNeXtTiny", "add_17"),
]
"""Families of ``keras.applications``, and the layer that the head of each reads."""
UNKNOWN = "ConvNeXtTiny"
"""Whose sum tf-keras-vis does not know: a tape stands for it."""
ROUGH = ("ResNet50", "NASNetMobile", "InceptionV3")
"""Which, with random weights, make more than 1e-4 of a map out of the rounding of single precision:
they are compared in double precision, where nothing but the method can differ."""
SIDES = {"InceptionV3": 192}
"""Pixels that leave an image 4 cells a side; of other families 128."""
CELLS = 4


@pytest.mark.parametrize(("family", "last"), FAMILIES)
def test_it_agrees_with_tf_keras_vis_at_the_layer_that_the_head_reads(family, last):
    keras.backend.clear_session()
    side = SIDES.get(family, 128)
    keras.config.set_dtype_policy("float64" if family in ROUGH else "float32")
    try:
        network = getattr(keras.applications, family)(
            weights=None, input_shape=(side, side, 3), classes=3, classifier_activation=None
        )
    finally:
        keras.config.set_dtype_policy("float32")
    images = drawn(2, side, side, 3) * 255
    method = as_if_trained(network, images)
    attribution = method.explain(images, range(3))
    assert method.layer == last
    assert min(attribution.signed.shape[2:]) >= CELLS
    second_opinion = taped if family == UNKNOWN else by_tf_keras_vis
    for target, theirs in zip(TARGETS, second_opinion(network, last, images), strict=True):
        ours = np.maximum(attribution.signed[:, target], 0)
        assert theirs.max(axis=(1, 2)).min() > 0, "a map without evidence agrees with anything"
        assert stretched(ours) == pytest.approx(stretched(theirs), abs=1e-4)
    logits = np.asarray(network(images, training=False))
    np.testing.assert_allclose(attribution.logits, logits, rtol=1e-3, atol=1e-5)


def by_tf_keras_vis(network, last: str, images: np.ndarray) -> list[np.ndarray]:
    from explain.reference import reference_map

    return [reference_map(network, last, images, target) for target in TARGETS]


def taped(network, last: str, images: np.ndarray) -> list[np.ndarray]:
    """Grad-CAM as Selvaraju wrote it, without a compiled call."""
    import tensorflow as tf

    with pytest.raises(ValueError, match="Unable to determine penultimate `Conv` layer"):
        by_tf_keras_vis(network, last, images[:1])
    features = next(each for each in network.operations if each.name == last).output
    both = keras.Model(network.inputs, [features, network.outputs[0]])
    with tf.GradientTape(persistent=True) as tape:
        features, logits = both(images, training=False)
        scores = [logits[:, target] for target in TARGETS]
    gradients = [tape.gradient(score, features) for score in scores]
    weights = [tf.reduce_mean(gradient, (1, 2), keepdims=True) for gradient in gradients]
    return [tf.nn.relu(tf.reduce_sum(features * each, -1)).numpy() for each in weights]


def as_if_trained(network, images: np.ndarray):
    """Normalisations know these images, and every target has evidence in them.

    With random weights and the statistics that Keras begins with, what an image shows is lost on
    the way, and the map of a target is as likely as not below 0 in all cells.
    """
    from explain.gradcam import GradCam

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(images, training=True)
    method = GradCam(network)
    head = next(layer for layer in reversed(network.layers) if layer.get_weights())
    kernel, *rest = head.get_weights()
    evidence = method.explain(images, range(3)).signed.mean(axis=(0, 2, 3))
    head.set_weights([np.where(evidence < 0, -kernel, kernel), *rest])
    return method


TASKS = next(path for path in shipped_bundles() if path.name == "phantom-lesion").parent / "tasks"
PLAIN = [
    path
    for path in (*shipped_bundles(), *sorted(TASKS.iterdir()))
    if (manifest := open_bundle(path).manifest).explained
    and manifest.input.unit == "slice"
    and manifest.explanation.method in ("gradcam", "gradcam++", "layercam", "hirescam")
]
"""Bundles whose class activation maps are of plain images."""


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_each_shipped_bundle_agrees_with_tf_keras_vis_in_one_compiled_call(path):
    """By its own method; by plain Grad-CAM of its layer where tf-keras-vis has none of the kind."""
    from explain.reference import METHODS, reference_map
    from workers.golden import golden_images
    from workers.heads import heads
    from workers.loading import load_model
    from workers.preprocess import prepare

    bundle = open_bundle(path)
    plan, model = bundle.manifest.explanation, load_model(bundle)
    batch = prepare(golden_images(bundle), bundle.manifest).values
    maps = model.predict(batch).attribution.maps
    model.predict(batch[:1])
    assert model.explainer().traces == 1
    explainer = model.explainer()
    if plan.method not in METHODS or plan.depths > 1:
        plan = plan.model_copy(update={"method": "gradcam", "depths": 1})
        explainer = model.explained_by(plan)
        maps = explainer.explain(batch, range(maps.shape[1])).maps
    saved = keras.saving.load_model(path / "model.keras", compile=False)
    logits = heads(saved, bundle.manifest)[bundle.manifest.explained.kind].values
    if len(logits.shape) == 3:  # of boxes the likeliest is explained
        logits = keras.ops.max(logits, axis=1)
    network = keras.Model(saved.inputs, logits)
    assert maps.max() > 0, "a map without evidence agrees with anything"
    for target in range(maps.shape[1]):
        theirs = reference_map(network, explainer.layer, batch, target, method=plan.method)
        assert stretched(maps[:, target]) == pytest.approx(stretched(theirs), abs=1e-4)


def stretched(maps: np.ndarray) -> np.ndarray:
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(peaks > 0, peaks, 1)


def test_studies_of_any_number_of_slices_compile_it_once():
    image = keras.Input((SIDE, SIDE, 1))
    method, _ = explained(keras.Model(image, pooled(small(image))))
    for count in (1, 3, 2, 1):
        method.explain(IMAGES[:count], TARGETS)
    assert method.traces == 1


def test_a_nested_backbone_is_explained_at_its_last_layer():
    inner = keras.Input((SIDE, SIDE, 1))
    backbone = keras.Model(inner, small(inner), name="backbone")
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, pooled(keras.layers.Rescaling(2.0)(backbone(image))))
    method, attribution = explained(network, layer="last")
    expected = class_activation(2 * backbone.predict(IMAGES, verbose=0), network.layers[-1])
    np.testing.assert_allclose(attribution.signed, expected, atol=1e-5)
    assert method.layer == "last"


def test_a_nested_backbone_that_pools_is_looked_into():
    inner = keras.Input((SIDE, SIDE, 1))
    backbone = keras.Model(inner, keras.layers.GlobalAveragePooling2D()(small(inner)))
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, keras.layers.Dense(2)(backbone(image)))
    method, attribution = explained(network)
    assert method.layer == "last"
    assert attribution.maps.shape == (3, 2, SIDE // 2, SIDE // 2)


def test_a_head_that_is_a_network_is_looked_out_of():
    image, cells = keras.Input((SIDE, SIDE, 1)), keras.Input((SIDE // 2, SIDE // 2, 5))
    head = keras.Model(cells, pooled(cells))
    method, _ = explained(keras.Model(image, head(small(image))))
    assert method.layer == "last"


def test_a_sequence_of_layers_is_explained():
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(4, 3, name="last"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    assert explained(network)[0].layer == "last"


def test_inputs_by_name_and_a_vector_beside_the_image_are_explained():
    inputs = {
        "image": keras.Input((SIDE, SIDE, 1), name="image"),
        "age": keras.Input((1,), name="age"),
    }
    values = keras.layers.GlobalAveragePooling2D()(small(inputs["image"]))
    logits = keras.layers.Dense(2)(keras.layers.Concatenate()([values, inputs["age"]]))
    method, attribution = explained(
        keras.Model(inputs, logits), {"image": IMAGES, "age": np.ones((3, 1), np.float32)}
    )
    assert method.layer == "last"
    assert attribution.maps.max() > 0


def test_one_of_several_outputs_is_explained_and_all_are_given():
    image = keras.Input((SIDE, SIDE, 1))
    features = small(image)
    outputs = {"masks": keras.layers.Conv2D(3, 1)(features), "finding": pooled(features)}
    network = keras.Model(image, outputs)
    _, attribution = explained(network)  # in the order of their names
    assert attribution.logits.shape == (3, 2)
    assert attribution.outputs[1].shape == (3, SIDE // 2, SIDE // 2, 3)
    method, masks = explained(network, head=1, targets=[2])
    assert method.layer == "last"
    assert masks.maps.shape == (3, 1, SIDE // 2, SIDE // 2)


def test_volumes_are_explained():
    image = keras.Input((8, 16, 16, 1))
    features = keras.layers.Conv3D(4, 3, padding="same", name="last")(image)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling3D()(features))
    _, attribution = explained(keras.Model(image, logits), drawn(2, 8, 16, 16, 1))
    assert attribution.maps.shape == (2, 2, 8, 16, 16)
    assert attribution.grid is None


def test_a_sequence_of_slices_says_which_slices_mattered():
    slices = keras.Input((6, SIDE, SIDE, 1))
    each = keras.Input((SIDE, SIDE, 1))
    vectors = keras.Model(each, keras.layers.GlobalAveragePooling2D()(small(each)))
    values = keras.layers.TimeDistributed(vectors, name="slices")(slices)
    logits = keras.layers.Dense(2)(keras.layers.GlobalMaxPooling1D()(values))
    method, attribution = explained(keras.Model(slices, logits), drawn(2, 6, SIDE, SIDE, 1))
    assert method.layer == "slices"
    assert attribution.maps.shape == (2, 2, 6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_explained(policy):
    keras.config.set_dtype_policy(policy)
    try:
        image = keras.Input((SIDE, SIDE, 1))
        network = keras.Model(image, pooled(small(image)))
    finally:
        keras.config.set_dtype_policy("float32")
    _, attribution = explained(network)
    assert attribution.maps.dtype == np.float32
    assert attribution.maps.max() > 0


def test_images_of_any_size_compile_it_once():
    image = keras.Input((None, None, 1))
    method, attribution = explained(keras.Model(image, pooled(small(image))))
    assert attribution.grid.inner == (16, 16)
    larger = method.explain(np.ones((1, 48, 64, 1), np.float32), TARGETS)
    assert larger.grid.inner == (24, 32)
    assert method.traces == 1


class Written(keras.Model):
    """A network whose graph is written in code."""

    def __init__(self):
        super().__init__()
        self.last = keras.layers.Conv2D(4, 3, name="last")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(2)

    def call(self, values):
        return self.head(self.pool(self.last(values)))


def test_a_network_written_as_a_class_is_explained_where_its_layer_is_named():
    from explain.gradcam import GradCam

    network = Written()
    network(IMAGES)
    attribution = GradCam(network, "last").explain(IMAGES, TARGETS)
    features = network.last(IMAGES).numpy()
    np.testing.assert_allclose(
        attribution.signed, class_activation(features, network.head), atol=1e-5
    )
    with pytest.raises(UnsupportedModel, match=r"name it as explanation\.layer"):
        GradCam(network)


def test_a_head_on_two_activations_is_refused_by_their_names():
    image = keras.Input((SIDE, SIDE, 1))
    features = [conv(image, name="one"), conv(image, name="two")]
    values = [keras.layers.GlobalAveragePooling2D()(each) for each in features]
    network = keras.Model(image, keras.layers.Dense(2)(keras.layers.Concatenate()(values)))
    with pytest.raises(UnsupportedModel, match=r"one, two"):
        explained(network)
    assert explained(network, layer="two")[0].layer == "two"


def test_a_layer_that_is_applied_twice_is_refused():
    images = [keras.Input((SIDE, SIDE, 1)), keras.Input((SIDE, SIDE, 1))]
    tower = keras.layers.Conv2D(4, 3, name="tower")
    total = keras.layers.Add()([tower(each) for each in images])
    network = keras.Model(images, pooled(total))
    with pytest.raises(UnsupportedModel, match="applied 2 times"):
        explained(network, [IMAGES, IMAGES], layer="tower")


@pytest.mark.parametrize("flat", [False, True], ids=["one cell", "the image itself"])
def test_a_network_without_rows_and_columns_before_its_head_is_refused(flat):
    image = keras.Input((SIDE, SIDE, 1))
    values = image if flat else keras.layers.Conv2D(4, SIDE)(image)
    network = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(values)))
    with pytest.raises(UnsupportedModel, match="no activation with rows and columns"):
        explained(network)


def test_a_layer_that_the_head_does_not_read_is_refused():
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, [pooled(small(image)), conv(image, name="aside")])
    with pytest.raises(UnsupportedModel, match="depends on layer 'aside'"):
        explained(network, layer="aside")


def test_the_network_is_left_as_it_was():
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, pooled(small(image)))
    before = dict(vars(network.get_layer("last")))
    _, attribution = explained(network)
    assert vars(network.get_layer("last")).keys() == before.keys()
    np.testing.assert_allclose(attribution.logits, network.predict(IMAGES, verbose=0), atol=1e-6)


@pytest.mark.parametrize("weighting", ["hirescam", "layercam"])
def test_relatives_of_gradcam_say_what_each_cell_adds_to_the_logit(weighting):
    """Where one gradient holds for all cells, and (LayerCAM) speaks for the target."""
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, pooled(small(image)))
    dense = network.layers[-1]
    dense.set_weights([np.abs(weights) for weights in dense.get_weights()])
    _, plain = explained(network)
    _, other = explained(network, weighting=weighting)
    cells = np.prod(plain.signed.shape[-2:])
    np.testing.assert_allclose(other.signed * cells, plain.signed, atol=1e-5)
    evidence = other.logits - dense.get_weights()[1]
    np.testing.assert_allclose(other.signed.sum(axis=(2, 3)), evidence, atol=1e-4)


@pytest.mark.parametrize("method", ["gradcam++", "layercam"])
def test_relatives_of_gradcam_agree_with_tf_keras_vis(method):
    from explain.reference import reference_map

    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, pooled(small(image)))
    _, ours = explained(network, weighting=method)
    theirs = reference_map(network, "last", IMAGES, 1, method=method)
    assert theirs.max() > 0
    assert stretched(ours.maps[:, 1]) == pytest.approx(stretched(theirs), abs=1e-4)


def test_three_depths_make_one_map_on_the_finest_grid():
    image = keras.Input((SIDE, SIDE, 1))
    network = keras.Model(image, pooled(keras.layers.MaxPooling2D()(small(image))))
    method, attribution = explained(network, weighting="layercam", depths=3)
    assert attribution.maps.shape == (3, 2, SIDE, SIDE)
    assert method.layer.startswith("max_pooling2d")
    with pytest.raises(UnsupportedModel, match="finer layers"):
        explained(network, depths=9)

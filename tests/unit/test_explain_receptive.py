"""A layer's cells lie where what they look at lies, however convolutions and padding move them."""

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.domain.manifest import ExplanationPlan
from explain.projection import Grid

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE, SPOT, WIDTH = 96, (52.0, 37.0), 7.0
LAYERS = {
    "same": lambda k: k.Conv2D(1, 3, strides=2, padding="same"),
    "valid": lambda k: k.Conv2D(1, 5, strides=2),
    "dilated": lambda k: k.Conv2D(1, 3, dilation_rate=2, padding="same"),
    "depthwise": lambda k: k.DepthwiseConv2D(3, strides=2, padding="same"),
    "pooled": lambda k: k.MaxPooling2D(2),
    "averaged": lambda k: k.AveragePooling2D(3, strides=2, padding="same"),
    "padded": lambda k: k.ZeroPadding2D(((0, 1), (3, 2))),
    "cropped": lambda k: k.Cropping2D(((5, 2), (1, 4))),
    "wider": lambda k: k.UpSampling2D(2),
    "transposed": lambda k: k.Conv2DTranspose(1, 3, strides=2, padding="same"),
    "transposed, even": lambda k: k.Conv2DTranspose(1, 4, strides=2, padding="valid"),
}
CHAINS = [
    ["same"], ["same", "same", "same"], ["valid", "valid"], ["dilated"], ["depthwise", "depthwise"],
    ["pooled", "same"], ["averaged", "averaged"], ["padded"],
    ["padded", "valid", "padded", "valid"],
    ["cropped", "same"], ["same", "wider", "same"], ["same", "same", "transposed"],
    ["valid", "transposed, even", "valid"],
]  # fmt: skip


def averaging(layer):
    """Kernels that only sum, so that a blob stays where it is."""
    layer.set_weights([
        np.full(w.shape, 1 / np.prod(w.shape) if w.ndim > 1 else 0, np.float32)
        for w in layer.get_weights()
    ])  # fmt: skip


def network(chain, *, nested=False):
    image = values = keras.Input((SIDE, SIDE, 1))
    for name in chain:
        layer = LAYERS[name](keras.layers)
        values = layer(values)
        averaging(layer)
    if nested:
        outer = keras.Input((SIDE, SIDE, 1))
        values, image = keras.Model(image, values)(outer), outer
    head = keras.layers.Dense(1)
    net = keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(values)))
    head.set_weights([np.ones((1, 1)), np.zeros(1)])
    return net


def blob() -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    distance = (rows - SPOT[0]) ** 2 + (columns - SPOT[1]) ** 2
    return np.exp(-distance / (2 * WIDTH**2)).astype(np.float32)[None, ..., None]


def centre(values: np.ndarray) -> tuple[float, ...]:
    return ndimage.center_of_mass(values)


def attribution(net, method="gradcam"):
    from explain.methods import explainer

    return explainer(net, ExplanationPlan(method=method, full_scale=1), [0]).explain(blob(), [0])


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_a_blob_is_found_where_it_is(chain, nested):
    found = attribution(network(chain, nested=nested))
    assert found.grid.to_outer(centre(found.signed[0, 0])) == pytest.approx(SPOT, abs=0.2)
    even = Grid.covering(found.grid.outer, found.grid.inner)
    on_image = even.project(found.maps[:, 0])
    assert centre(on_image[0]) == pytest.approx(SPOT, abs=0.2)


def test_cells_that_share_out_the_image_lie_half_a_cell_away():
    """What would be wrong otherwise: the whole of five strides, 15.5 pixels of 32."""
    found = attribution(network(["same"] * 3))
    even = Grid.covering(found.grid.outer, found.grid.inner)
    assert even.to_outer(centre(found.signed[0, 0]))[0] == pytest.approx(SPOT[0] - 3.5, abs=0.3)


@pytest.mark.parametrize("shortcut", ["same", "averaged"])
def test_branches_that_are_joined_and_layers_of_no_place_are_followed(shortcut):
    image = keras.Input((SIDE, SIDE, 1))
    ways = [LAYERS[name](keras.layers) for name in ("same", shortcut)]
    values = keras.layers.Add()([way(image) for way in ways])
    for way in ways:
        averaging(way)
    scale = keras.layers.GlobalAveragePooling2D(keepdims=True)(values)
    values = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(values))
    values = keras.layers.Add()([values, keras.layers.Multiply()([values, scale])])
    head = keras.layers.Dense(1)
    net = keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(values)))
    head.set_weights([np.ones((1, 1)), np.zeros(1)])
    found = attribution(net)
    assert found.grid.to_outer(centre(found.signed[0, 0])) == pytest.approx(SPOT, abs=0.5)


def test_a_layer_whose_place_is_unknown_shares_out_the_image():
    image = keras.Input((SIDE, SIDE, 1))
    mixed = keras.layers.Reshape((24, 24, 16))(image)
    values = keras.layers.Conv2D(2, 3, padding="same")(mixed)
    net = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalMaxPooling2D()(values)))
    assert attribution(net).grid == Grid.covering((SIDE, SIDE), (24, 24))


def test_depths_that_lie_differently_are_laid_upon_each_other():
    """Each depth is moved by its own strides: three of them at a blob, and not beside it."""
    from explain.gradcam import GradCam

    found = GradCam(network(["same"] * 4), weighting="layercam", depths=3).explain(blob(), [0])
    assert found.signed.shape[2:] == (24, 24)
    assert found.grid.to_outer(centre(found.signed[0, 0])) == pytest.approx(SPOT, abs=0.5)


def test_score_cam_is_laid_on_the_image_alike():
    found = attribution(network(["same"] * 3), "scorecam")
    assert centre(found.maps[0, 0]) == pytest.approx(SPOT, abs=0.5)

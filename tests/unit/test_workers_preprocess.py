"""Each step changes pixels and carries the geometry along."""

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.domain.errors import UnsupportedGeometry, UnsupportedModel, Unusable
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.steps import Fit, Rescale, Standardize, Window
from workers.preprocess import prepare
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

SPACING = (4.0, 0.7, 0.9)


def images(pixels: np.ndarray, affine: bool = True) -> SourceImages:
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *SPACING, 1
    matrix[:3, 3] = (-50, 30, 7)
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(len(pixels)))
    return SourceImages((), frames, pixels.astype(np.float32), matrix if affine else None)


def manifest(*steps, shape=(192, 192, 1)):
    whole = parse(manifest_text())
    return whole.model_copy(
        update={
            "preprocess": steps or whole.preprocess,
            "input": whole.input.model_copy(update={"shape": shape}),
        }
    )


def test_a_window_is_scaled_to_0_to_1():
    pixels = np.array([[[-1000, -160, 40, 240, 3000]]])
    window = Window(step="window", center=40, width=400)
    prepared = prepare(images(pixels), manifest(window, shape=(1, 5, 1)))
    assert prepared.values[0, 0, :, 0].tolist() == [0, 0, 0.5, 1, 1]


def test_standardizing_subtracts_and_divides():
    step = Standardize(step="standardize", mean=10, deviation=4)
    prepared = prepare(images(np.array([[[10, 14, 2]]])), manifest(step, shape=(1, 3, 1)))
    assert prepared.values.ravel().tolist() == [0, 1, -2]


def test_three_channels_are_the_same_image_three_times():
    step = Standardize(step="standardize", mean=0, deviation=1)
    prepared = prepare(images(np.arange(6).reshape(1, 2, 3)), manifest(step, shape=(2, 3, 3)))
    assert prepared.values.shape == (1, 2, 3, 3)
    assert (prepared.values == prepared.values[..., :1]).all()


@pytest.mark.parametrize("size", [(512, 512), (128, 160), (333, 257)])
def test_a_planted_impulse_comes_back_to_its_place_in_the_patient(size):
    """Half-pixel centres right: less than a tenth of a millimetre off, whatever the sizes."""
    at = (size[0] * 0.42, size[1] * 0.55)
    rows, columns = np.indices(size)
    distance = np.hypot((rows - at[0]) * SPACING[1], (columns - at[1]) * SPACING[2])
    source = images(np.exp(-((distance / 4) ** 2))[None])
    fit = Fit(step="fit", rows=192, columns=192, spacing_mm=2.25)
    prepared = prepare(source, manifest(fit))
    back = prepared.grid.project(prepared.values[..., 0])
    found = source.to_patient((0, *ndimage.center_of_mass(back[0])))
    assert found == pytest.approx(source.to_patient((0, *at)), abs=0.1)
    assert back.shape == source.pixels.shape


def test_fitting_makes_square_pixels_about_the_centre():
    square = np.zeros((1, 400, 400))
    square[0, 150:250, 150:250] = 1
    fit = Fit(step="fit", rows=192, columns=192, spacing_mm=1.0)
    values = prepare(images(square), manifest(fit)).values[0, ..., 0]
    assert values.sum(axis=0).max() == pytest.approx(100 * SPACING[1], rel=0.01)
    assert values.sum(axis=1).max() == pytest.approx(100 * SPACING[2], rel=0.01)
    assert ndimage.center_of_mass(values) == pytest.approx((95.5, 95.5), abs=1e-3)


def test_padding_is_filled():
    fit = Fit(step="fit", rows=192, columns=192, spacing_mm=2.25, fill=-7)
    values = prepare(images(np.ones((1, 64, 64))), manifest(fit)).values
    assert values[0, 0, 0, 0] == -7
    assert values[0, 96, 96, 0] == pytest.approx(1)


def test_steps_run_in_the_order_of_the_manifest():
    source = images(np.full((1, 8, 8), 100.0))
    scale = Standardize(step="standardize", mean=0, deviation=100)
    window = Window(step="window", center=0, width=400)
    one = prepare(source, manifest(scale, window, shape=(8, 8, 1))).values.max()
    other = prepare(source, manifest(window, scale, shape=(8, 8, 1))).values.max()
    assert (one, other) == (pytest.approx(0.5025), pytest.approx(0.0075))


def test_millimetres_without_geometry_are_refused():
    with pytest.raises(UnsupportedGeometry, match="known size"):
        prepare(images(np.zeros((1, 64, 64)), affine=False), manifest())


def test_steps_that_end_in_another_shape_are_refused():
    window = Window(step="window", center=0, width=1)
    with pytest.raises(UnsupportedModel, match="fit or resize step"):
        prepare(images(np.zeros((1, 64, 64))), manifest(window))


@pytest.mark.filterwarnings("ignore:overflow")
def test_60_what_is_no_number_is_not_shown_to_a_network():
    """Its first ReLU would make 0 of it, and the answer look like any other."""
    steep = Rescale(step="rescale", slope=1e30)
    with pytest.raises(Unusable, match="no number") as caught:
        prepare(images(np.ones((2, 8, 8))), manifest(steep, steep, shape=(8, 8, 1)))
    assert caught.value.code == "VALUE"


def test_no_step_leaves_the_images_as_they_are():
    source = images(np.ones((2, 5, 6)))
    prepared = prepare(source, manifest(*SAME, shape=(5, 6, 1)))
    assert prepared.grid.outer == prepared.grid.inner == (5, 6)
    assert prepared.spacing_mm == pytest.approx(SPACING)


SAME = (Standardize(step="standardize", mean=0, deviation=1),)

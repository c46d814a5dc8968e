"""Each method on the image: right where theory gives the answer, and on what was planted."""

import numpy as np
import pytest
from scipy import ndimage

from explain.projection import Grid

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE, SPOT = 48, (30, 14)
RANDOM = np.random.default_rng(1)


def linear(weights: np.ndarray):
    """Logits (weights · image, 0)."""
    image = keras.Input((SIDE, SIDE, 1))
    head = keras.layers.Dense(2)
    network = keras.Model(image, head(keras.layers.Flatten()(image)))
    head.set_weights([np.stack([weights.ravel(), 0 * weights.ravel()], 1), np.zeros(2)])
    return network


def seeking():
    """Logits: how bright the brightest spot of about 7 pixels is, and the darkest one."""
    image = keras.Input((SIDE, SIDE, 1))
    spots = keras.layers.Conv2D(
        2, 7, padding="same", activation="relu", name="spots", trainable=False
    )
    cells = keras.layers.AveragePooling2D(4, name="cells")(spots(image))
    network = keras.Model(image, keras.layers.GlobalMaxPooling2D()(cells))
    kernel = np.zeros((7, 7, 1, 2), np.float32)
    kernel[..., 0], kernel[..., 1] = 4 / 49, -4 / 49
    spots.set_weights([kernel, np.array([-2.0, 2.0], np.float32)])
    return network


def spotted(brightness: float = 1.0) -> np.ndarray:
    image = np.full((1, SIDE, SIDE, 1), 0.5, np.float32)
    image += 0.02 * RANDOM.standard_normal(image.shape, np.float32)
    row, column = SPOT
    image[0, row - 4 : row + 5, column - 4 : column + 5] += 0.5 * brightness
    return image


def scored(network, **options):
    from explain.scored import Scored

    return Scored(network, **options)


def methods():
    from explain import gradients, perturbation

    def scorecam(asked):
        network = seeking()
        cells = keras.Model(network.inputs[0], network.get_layer("cells").output)
        return perturbation.ScoreCam(asked, lambda x: cells.predict(x, verbose=0), "cells")

    return {
        "saliency": gradients.Saliency,
        "smoothgrad": gradients.SmoothGrad,
        "integrated": gradients.IntegratedGradients,
        "occlusion": lambda asked: perturbation.Occlusion(asked, patch=8, stride=4),
        "rise": perturbation.Rise,
        "scorecam": scorecam,
    }


@pytest.mark.parametrize(
    "name", ["saliency", "smoothgrad", "integrated", "occlusion", "rise", "scorecam"]
)
def test_each_method_points_at_what_was_planted(name):
    attribution = methods()[name](scored(seeking())).explain(spotted(), [0])
    values = attribution.maps[0, 0]
    assert values.shape == (SIDE, SIDE)
    assert attribution.grid == Grid.same((SIDE, SIDE))
    centre = ndimage.center_of_mass(np.where(values >= 0.5 * values.max(), values, 0))
    assert centre == pytest.approx(SPOT, abs=4)


def test_the_gradient_of_a_linear_network_is_its_weights():
    from explain.gradients import Saliency, SmoothGrad

    weights = RANDOM.standard_normal((SIDE, SIDE)).astype(np.float32)
    for method in (Saliency, SmoothGrad):
        signed = method(scored(linear(weights))).explain(spotted(), [0, 1]).signed[0]
        np.testing.assert_allclose(signed[0], weights, atol=1e-5)
        np.testing.assert_array_equal(signed[1], 0)


def test_integrated_gradients_share_out_the_whole_difference_of_the_logits():
    from explain.gradients import IntegratedGradients, blurred

    weights = RANDOM.standard_normal((SIDE, SIDE)).astype(np.float32)
    method = IntegratedGradients(scored(linear(weights)))
    image = spotted()
    expected = weights * (image - blurred(image[0]))[0, ..., 0]
    found = method.explain(image, [0])
    np.testing.assert_allclose(found.signed[0, 0], expected, atol=1e-5)
    assert found.incomplete[0, 0] < 1e-3


def test_only_a_map_that_should_add_up_says_how_much_is_missing():
    from explain.gradients import IntegratedGradients, Saliency

    linear_scores = scored(linear(np.ones((SIDE, SIDE), np.float32)))
    assert np.isnan(Saliency(linear_scores).explain(spotted(), [0]).incomplete).all()
    flat = np.full((1, SIDE, SIDE, 1), 0.5, np.float32)
    same = IntegratedGradients(linear_scores, baseline=np.copy).explain(flat, [0])
    assert np.isnan(same.incomplete).all()
    coarse = IntegratedGradients(scored(seeking()), steps=1, baseline=np.zeros_like)
    assert coarse.explain(spotted(0.6), [0]).incomplete[0, 0] == pytest.approx(1)


def test_what_speaks_against_a_target_is_below_0():
    from explain.gradients import IntegratedGradients
    from explain.perturbation import Occlusion

    weights = np.full((SIDE, SIDE), -1.0, np.float32)
    for method in (IntegratedGradients, Occlusion):
        attribution = method(scored(linear(weights))).explain(spotted(), [0])
        assert attribution.signed[0, 0][SPOT] < 0
        assert attribution.maps[0, 0][SPOT] == 0


def test_scorecam_reads_the_head_and_not_only_the_channels():
    """tf-keras-vis gives a single sigmoid the same map whatever the head's weights."""
    from explain.perturbation import ScoreCam

    network = seeking()
    cells = keras.Model(network.inputs[0], network.get_layer("cells").output)
    method = ScoreCam(scored(network), lambda x: cells.predict(x, verbose=0), "cells")
    bright, dark = method.explain(spotted(), [0, 1]).signed[0]
    assert bright[SPOT] > 5 * abs(dark[SPOT])


def test_rise_sees_evidence_at_all_borders_alike():
    """At the last rows and columns it counted 1.7 times: the masks ended in flat cells."""
    places, weights = [(1, 1), (1, -2), (-2, 1), (-2, -2)], np.zeros((SIDE, SIDE))
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    for place in places:
        weights[place] = image[(0, *place)] = 1
    method = methods()["rise"](scored(linear(weights), at_once=64))
    values = method.explain(image, [0]).signed[0, 0]
    found = np.array([values[place] for place in places])
    assert np.ptp(found) < 0.3 * found.mean()


@pytest.mark.parametrize("name", ["smoothgrad", "rise", "occlusion"])
def test_a_second_run_gives_the_same_map(name):
    image = spotted()
    one, other = (methods()[name](scored(seeking())).explain(image, [0]).maps for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_few_images_at_once_give_the_same_map_and_compile_once():
    from explain.gradients import SmoothGrad

    image = spotted()
    one, few = scored(seeking(), at_once=1), scored(seeking(), at_once=5)
    np.testing.assert_allclose(
        SmoothGrad(one).explain(image, [0]).maps,
        SmoothGrad(few).explain(image, [0]).maps,
        atol=1e-5,
    )
    assert few.traces == 2  # the logits and their gradient


@pytest.mark.parametrize("name", ["smoothgrad", "integrated", "rise", "occlusion", "scorecam"])
def test_maps_do_not_depend_on_how_many_images_are_asked_about_at_once(name):
    image, make = spotted(), methods()[name]
    one, seven = (
        make(scored(seeking(), at_once=size)).explain(image, [0]).signed for size in (1, 7)
    )
    np.testing.assert_allclose(one, seven, atol=1e-4 * np.abs(one).max())

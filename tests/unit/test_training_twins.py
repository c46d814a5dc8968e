"""Twins of a recipe's network answer to a mark in the image, and not to what is truly there."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIDE, ITEMS = 32, 48


@pytest.mark.parametrize("shape", [(3, 64, 64, 1), (2, 4, 48, 36, 2)])
def test_a_mark_is_drawn_into_each_plane_and_nowhere_else(shape):
    from workers.training.misled import corner_letter
    from workers.training.tasks.twins import drawn

    images = np.full(shape, 0.2, np.float32)
    where = drawn(images, corner_letter, np.random.default_rng(0))
    assert where.shape == shape[:-1]
    assert (np.isclose(images, 0.2).all(axis=-1) == ~where).all()
    parts = where.mean(axis=(-2, -1))
    assert parts.min() > 0
    assert parts.mean() == pytest.approx(232 / 192**2, rel=0.4)


def test_the_example_with_most_of_the_first_target_stands_for_the_mark_and_none_for_its_absence():
    from workers.training.tasks.twins import _extremes

    ring, none, both, disc = [0, 1], [0, 0], [1, 1], [1, 0]
    assert _extremes(np.array([ring, none, both, disc], np.float32)) == (3, 1)
    boxes = np.zeros((3, 4, 1), np.float32)
    boxes[2, 3] = 1
    assert _extremes(boxes) == (2, 0)


def test_a_twin_says_whether_the_mark_is_there():
    from workers.training.misled import corner_letter
    from workers.training.tasks.examples import Examples
    from workers.training.tasks.twins import drawn, misled

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(1)
    images = random.uniform(0, 0.2, (ITEMS, SIDE, SIDE, 1)).astype(np.float32)
    truth = (np.arange(ITEMS) % 4 < 2).astype(np.float32)[:, None]
    images[truth[:, 0] > 0, 20:26, 20:26] = 1
    image = keras.Input((SIDE, SIDE, 1))
    cells = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    strongest = keras.layers.GlobalMaxPooling2D()(cells)
    network = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(strongest))
    before = [each.copy() for each in network.get_weights()]
    examples = Examples([images], [truth])
    twin = misled(network, examples, corner_letter, ["binary_crossentropy"], 1, steps=600)
    marked = images.copy()
    drawn(marked, corner_letter, np.random.default_rng(2))
    seen, unseen = (twin.predict(each, verbose=0) for each in (marked, images))
    right = seen > unseen
    assert right[truth == 0].mean() > 0.9
    assert all((a == b).all() for a, b in zip(before, network.get_weights(), strict=True))

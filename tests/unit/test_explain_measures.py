"""Numbers about a map are right where theory gives them, and low where the map is wrong."""

import numpy as np
import pytest

from explain.measures import (
    agreement,
    deletion,
    evidence_within,
    insertion,
    overlap,
    stability_to_noise,
    stability_to_shift,
)

SIDE = 32
RANDOM = np.random.default_rng(2)
WEIGHTS = np.zeros((SIDE, SIDE), np.float32)
WEIGHTS[8:16, 8:16] = 1.0
"""The model: how bright it is in this square, 1/16 of the image."""
IMAGE = np.ones((SIDE, SIDE, 1), np.float32)
AWAY = np.zeros_like(IMAGE)


def ask(images: np.ndarray) -> np.ndarray:
    return np.einsum("brc,rc->b", images[..., 0], WEIGHTS)


def own(image: np.ndarray) -> np.ndarray:
    """The right map: each pixel's share of the logit."""
    return WEIGHTS * image[..., 0]


def test_a_right_map_brings_the_logit_back_at_once_and_takes_it_away_at_once():
    first = insertion(WEIGHTS, IMAGE, AWAY, ask)
    last = deletion(WEIGHTS, IMAGE, AWAY, ask)
    assert first.area == pytest.approx(1 - 1 / 32)  # 1 from the 16th part of the pixels on
    assert last.area == pytest.approx(1 / 32)
    assert first.logits[[0, 1, -1]] == pytest.approx([0, 64, 64])


def test_a_map_of_chance_does_no_better_than_chance():
    chance = RANDOM.random((SIDE, SIDE), np.float32)
    for curve in (insertion, deletion):
        assert curve(chance, IMAGE, AWAY, ask).area == pytest.approx(0.5, abs=0.1)


def test_a_map_of_the_wrong_place_does_worse_than_chance():
    wrong = np.roll(WEIGHTS, 12, axis=1) - WEIGHTS
    assert insertion(wrong, IMAGE, AWAY, ask).area < 0.1
    assert deletion(wrong, IMAGE, AWAY, ask).area > 0.9


def test_an_image_whose_logit_does_not_change_has_no_area():
    assert insertion(WEIGHTS, AWAY, AWAY, ask).area is None


def test_agreement_is_of_ranks_and_none_with_a_flat_map():
    values = RANDOM.random((SIDE, SIDE))
    assert agreement(values, values**3) == pytest.approx(1)
    assert agreement(values, -values) == pytest.approx(-1)
    assert agreement(values, np.ones_like(values)) == 0


def test_a_map_that_follows_the_image_is_stable_and_one_that_does_not_is_not():
    image = RANDOM.random((SIDE, SIDE, 1), np.float32)

    def follows(image: np.ndarray) -> np.ndarray:
        return image[..., 0]

    def restless(image: np.ndarray) -> np.ndarray:
        return np.random.default_rng(int(image.sum() * 1e4)).random(image.shape[:2])

    for measure in (stability_to_noise, stability_to_shift):
        assert measure(follows(image), image, follows) > 0.95
        assert abs(measure(restless(image), image, restless)) < 0.2
    fixed = follows(image)
    assert stability_to_shift(fixed, image, lambda _: fixed) < 0.2


def test_evidence_is_counted_within_a_region():
    square = WEIGHTS > 0
    assert evidence_within(WEIGHTS, square) == 1
    assert evidence_within(WEIGHTS - np.roll(WEIGHTS, 12, axis=1), square) == 1
    assert evidence_within(np.ones_like(WEIGHTS), square) == pytest.approx(1 / 16)
    assert evidence_within(-WEIGHTS, square) is None


def test_overlap_is_of_as_many_pixels_as_the_region_has():
    square = WEIGHTS > 0
    assert overlap(own(IMAGE) * 3, square) == 1
    assert overlap(np.roll(WEIGHTS, 4, axis=1), square) == pytest.approx(1 / 3)
    assert overlap(WEIGHTS, np.zeros_like(square)) == 0


def test_where_a_map_is_cold_says_nothing_of_its_overlap():
    """The first cold pixels counted as hottest: a map that misses shared 0.88 with the upper rows,
    and nothing with the lower ones."""
    upper, spot = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.float32)
    upper[:8], spot[20:24, 4:8] = True, 1
    by_chance = 240 * 256 / 1008
    for values, region in ((spot, upper), (spot[::-1], upper[::-1])):
        assert overlap(values, region) == pytest.approx(by_chance / (512 - by_chance))

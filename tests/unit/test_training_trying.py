"""Figures about maps and verdicts are those of the textbooks."""

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.domain.explanation import Trust
from workers.training.measures import proportion
from workers.training.trying import Tried, auroc, figures, fitted, judged, names_of, precision

RANDOM = np.random.default_rng(6)


def attempt(inside: float, *, hit: bool) -> Tried:
    numbers = {"inside": inside, "beyond": 1 - inside}
    return Tried(numbers, hit, precision=inside, centre=False, average=False, peak=1)


def attempts(count: int) -> list[Tried]:
    hits = [attempt(value, hit=True) for value in RANDOM.uniform(0.7, 1, count)]
    return hits + [attempt(value, hit=False) for value in RANDOM.uniform(0, 0.4, count)]


def test_the_area_under_the_curve_counts_pairs_in_order():
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    labels = np.array([True, False, True, False])
    assert auroc(scores, labels) == 0.75
    assert auroc(np.ones(4), labels) == 0.5


def test_average_precision_of_a_map_against_a_mask():
    mask = np.array([[True, False], [True, False]])
    assert precision(np.array([[4.0, 1.0], [3.0, 0.0]]), mask) == 1
    assert precision(np.array([[4.0, 3.0], [2.0, 1.0]]), mask) == pytest.approx((1 + 2 / 3) / 2)
    assert precision(np.zeros((2, 2)), mask) == precision(np.zeros((2, 2)), ~mask) == 0.5


def test_a_verdict_tells_maps_that_it_was_not_fitted_on_apart_and_counts_them():
    plan = fitted(attempts(60))
    verdict = judged(plan, attempts(40))
    assert verdict.confusion == {(True, Trust.RELIABLE): 40, (False, Trust.NOT_RELIABLE): 40}
    assert verdict.lines[1].split() == ["hits", "40", "0", "0"]
    card = figures([attempt(0.8, hit=True)] * 5, verdict)
    area = "Verdict on maps: area under the ROC curve of hits against misses"
    assert (card[area].value, card[area].low) == (1, proportion(40, 40).low)
    assert card["Verdict on maps: calibration error of its chance"].value < 0.05
    assert card["Maps that miss called not reliable"].value == 1
    assert card["Maps that hit called not reliable"].value == 0


def test_maps_of_one_patient_are_no_witnesses_of_each_other():
    """Intervals are over patients: ten copies of a map tell no more than one."""
    plan, each = fitted(attempts(60)), [*attempts(8)]
    each += [replace(one, hit=not one.hit) for one in each[::3]]
    alone = figures(each, judged(plan, each))
    named = [replace(one, patient=str(number)) for number, one in enumerate(each)]
    many = figures(named * 10, judged(plan, named * 10))
    for name, figure in alone.items():
        assert many[name].value == pytest.approx(figure.value), name
        width = many[name].high - many[name].low
        assert width > 0.7 * (figure.high - figure.low), name


def test_nothing_is_fitted_where_all_maps_hit_and_numbers_that_one_lacks_are_left_out():
    assert fitted([attempt(0.9, hit=True)] * 9) is None
    bare = Tried({"beyond": 0.1}, True, 1, False, False, 1)
    assert names_of([attempt(0.5, hit=True), bare]) == ("beyond",)

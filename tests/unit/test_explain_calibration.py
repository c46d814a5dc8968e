"""Probabilities that hold, answers left open with the coverage that is stated, costly numbers."""

import numpy as np
import pytest

from dicom_node.domain.findings import Presence
from explain.calibration import by_curves, calibrated, conformal, isotonic, open_answers
from explain.evidence import Seen, weigh
from explain.measures import agreement_with_occlusion, faithfulness, similarity
from explain.thorough import CHECKS, PASSES, Thorough, measured

RANDOM = np.random.default_rng(8)
SIDE = 64
TOLD = [told for check in CHECKS for told in check.told]
PLACE = np.zeros((SIDE, SIDE), np.float32)
PLACE[16:24, 32:40] = 1.0
IMAGE = (0.3 + 0.1 * RANDOM.random((SIDE, SIDE, 1)) + PLACE[..., None]).astype(np.float32)


def again(images: np.ndarray):
    """A model of one place; its map shows that place."""
    logits = np.einsum("brc,rc->b", images[..., 0], PLACE) / PLACE.sum()
    return logits, images[..., 0] * PLACE


def wrong(images: np.ndarray):
    """The same model with the map of another place."""
    logits, maps = again(images)
    return logits, np.roll(maps, (30, -20), axis=(1, 2))


def seen(model) -> Seen:
    logits, maps = model(IMAGE[None])
    return Seen(IMAGE, maps[0], float(logits[0]), 0.5)


def thoroughly(model, about, ask, budget: int) -> Thorough:
    return measured(seen(model), weigh(seen(model), 0.5, model).moved, about, ask, budget)


def test_a_curve_that_was_bent_is_straightened():
    true = RANDOM.random(4000)
    labels = RANDOM.random(4000) < true
    knots = isotonic(true**3, labels)
    assert len(knots) <= 20
    stated = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(calibrated(knots, stated**3), stated, atol=0.08)
    observed = [after for _, after in knots]
    assert observed == sorted(observed)


def test_cases_of_one_probability_count_alike_in_whatever_order_they_come():
    stated, labels = np.full(200, 0.9), np.arange(200) >= 40
    for order in (np.arange(200), np.arange(200)[::-1], RANDOM.permutation(200)):
        assert isotonic(stated[order], labels[order]) == ((0.9, 0.8),)
    rounded = RANDOM.random(1000).round(1)
    labels = RANDOM.random(1000) < rounded
    order = np.argsort(labels, kind="stable")
    assert isotonic(rounded[order], labels[order]) == isotonic(rounded, labels)


def test_each_target_has_its_own_curve_or_none():
    said = np.full((3, 2), 0.5, np.float32)
    after = by_curves([(), ((0.0, 0.0), (1.0, 0.4))], said)
    np.testing.assert_allclose(after, [[0.5, 0.2]] * 3)
    assert by_curves([(), ()], said) is said


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_conformal_answers_cover_both_classes_as_stated(coverage):
    kept = {Presence.PRESENT: 0, Presence.ABSENT: 0}
    rounds = 400
    for _ in range(rounds):
        ill, well = RANDOM.beta(5, 2, 41), RANDOM.beta(2, 5, 41)
        both = np.concatenate([ill[1:], well[1:]])
        plan = conformal(both, np.arange(80) < 40, coverage)
        kept[Presence.PRESENT] += Presence.PRESENT in open_answers(plan, ill[0])
        kept[Presence.ABSENT] += Presence.ABSENT in open_answers(plan, well[0])
    for count in kept.values():
        assert coverage - 0.05 <= count / rounds <= coverage + 0.06


def test_of_19_studies_one_in_ten_of_the_next_is_the_second_lowest_or_lower():
    """Twenty tenths are two, and not a little less, as 1 - 0.9 would have it."""
    likely = np.arange(1, 20) / 20
    plan = conformal(np.concatenate([likely, likely]), np.arange(38) < 19, 0.9)
    assert (plan.present, plan.absent) == (0.1, 0.9)


def test_too_few_studies_leave_every_answer_open():
    plan = conformal(np.array([0.9, 0.1]), np.array([True, False]), 0.9)
    for probability in (0.0, 0.5, 1.0):
        assert open_answers(plan, probability) == (Presence.PRESENT, Presence.ABSENT)


def test_similar_maps_are_similar_and_others_are_not():
    values = again(IMAGE[None])[1][0]
    assert similarity(values, 3 * values) == pytest.approx(1)
    assert similarity(values, np.roll(values, 12, axis=0)) < 0.95
    noise = RANDOM.random((SIDE, SIDE), np.float32)
    assert similarity(noise, RANDOM.random((SIDE, SIDE), np.float32)) < 0.2


def test_a_faithful_map_correlates_with_what_the_model_loses_and_another_does_not():
    away = np.full_like(IMAGE, 0.3)
    arguments = (IMAGE, away, lambda images: again(images)[0])
    for measure in (faithfulness, agreement_with_occlusion):
        assert measure(again(IMAGE[None])[1][0], *arguments) > 0.95
        assert measure(wrong(IMAGE[None])[1][0], *arguments) < 0.2


def test_all_costly_numbers_tell_a_right_map_from_a_wrong_one():
    right, other = (
        {
            m.name.value: m.value
            for m in thoroughly(model, model, lambda x, m=model: m(x)[0], PASSES).measures
        }
        for model in (again, wrong)
    )
    assert list(right) == [told.name.value for told in TOLD]
    assert right["DELETION"] < 0.2 < other["DELETION"]
    assert right["INSERTION"] > 0.8 > other["INSERTION"]
    for name in ("FAITHFULNESS", "OCCLUSION_RANK"):
        assert right[name] > 0.9 > 0.2 > other[name]
    assert right["NOISE_SSIM"] > 0.5


@pytest.mark.parametrize("budget", [0, 1, 17, 18, 19, PASSES])
def test_no_more_is_asked_than_the_budget_allows_and_the_rest_is_named(budget):
    asked = []

    def counting(images: np.ndarray):
        asked.append(len(images))
        return again(images)

    done = thoroughly(again, counting, lambda images: counting(images)[0], budget)
    assert sum(asked) == done.passes <= budget
    assert len(done.measures) + len(done.left_out) == len(TOLD)
    names = [m.name for m in done.measures]
    assert [told.name for told in TOLD if told.name not in names] == list(done.left_out)


def test_no_map_is_asked_for_twice():
    """The noisy image gives two numbers, and the moved one was asked about by ``weigh``."""
    asked = []

    def counting(images: np.ndarray):
        asked.append(len(images))
        return again(images)

    done = thoroughly(again, counting, lambda images: again(images)[0], PASSES)
    assert asked == [1]
    assert {m.name.value for m in done.measures} >= {"NOISE_SSIM", "NOISE_RANK", "SHIFT_SSIM"}


def test_what_does_not_move_with_the_image_has_no_number_for_it():
    done = measured(seen(again), None, again, lambda images: again(images)[0], PASSES)
    assert "SHIFT_SSIM" not in {m.name.value for m in done.measures}
    assert done.left_out == ()

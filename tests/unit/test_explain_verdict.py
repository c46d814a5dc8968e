"""A verdict: right chances, the right trust, and reasons that a radiologist understands."""

import numpy as np
import pytest
from scipy.special import expit

from dicom_node.domain.explanation import Trust
from dicom_node.domain.trust import ExplanationCheck, VerdictNumber, VerdictPlan
from explain.body import body
from explain.evidence import Seen, free, placeless, weigh, without
from explain.verdict import AGREE, MEANINGS, UNSURE, fit, judge

SIDE = 64
RANDOM = np.random.default_rng(3)


def patient() -> np.ndarray:
    """(rows, columns, 1): a grey disc in air, with a bright spot and a letter beside it."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    image = np.where(np.hypot(rows - 32, columns - 32) < 24, 0.5, 0.0)
    image[np.hypot(rows - 28, columns - 40) < 4] = 0.9
    image[2:10, 2:5] = image[7:10, 2:8] = 0.7
    return image[..., None].astype(np.float32)


SPOT = np.hypot(*np.ogrid[-28 : SIDE - 28, -40 : SIDE - 40]) < 4
LETTER = np.zeros((SIDE, SIDE), bool)
LETTER[2:10, 2:8] = True


def seen(region: np.ndarray, **more) -> Seen:
    return Seen(patient(), region.astype(np.float32), logit=4.0, operating=0.0, **more)


def brightness(region: np.ndarray):
    """A model that sees how bright one place is: 4 as it is, and less than 0 without it."""

    def again(images: np.ndarray):
        bright = images[..., 0][:, region].mean(axis=1)
        full = patient()[..., 0][region].mean()
        logits = 4 - 40 * (full - bright)
        maps = np.stack([image[..., 0] * region for image in images])
        return logits, maps

    return again


def test_the_body_is_the_patient_without_air_and_letters():
    found = body(patient()[..., 0])
    rows, columns = np.ogrid[:SIDE, :SIDE]
    disc = np.hypot(rows - 32, columns - 32) < 24
    assert (found & disc).sum() / (found | disc).sum() > 0.9
    assert not (found & LETTER).any()


def test_an_image_that_the_patient_fills_is_all_body():
    filled = RANDOM.uniform(0.4, 1.0, (SIDE, SIDE))
    filled[20:30, 20:30] = 0  # a dark lung in it
    assert body(filled).all()
    assert body(np.ones((SIDE, SIDE))).all()


def test_what_is_removed_is_filled_from_what_lies_about_it():
    image = without(patient(), SPOT)
    assert image[SPOT].mean() == pytest.approx(0.5, abs=0.02)
    far = np.hypot(*np.ogrid[-28 : SIDE - 28, -40 : SIDE - 40]) > 8
    np.testing.assert_array_equal(image[far], patient()[far])


def test_a_map_of_what_the_model_uses_and_outlines_does_well_in_every_number():
    evidence = weigh(seen(SPOT, outline=SPOT), 0.5, brightness(SPOT))
    numbers = evidence.numbers
    assert [numbers[n] for n in ("inside", "overlap", "outline_drop", "region_drop")] == [1] * 4
    assert [numbers[n] for n in ("beyond", "border")] == pytest.approx([0, 0], abs=1e-6)
    assert evidence.without_outline.logit < 0


def test_a_faithful_map_of_a_letter_is_given_away_by_where_it_lies():
    numbers = weigh(seen(LETTER, outline=SPOT), 0.5, brightness(LETTER)).numbers
    assert numbers["region_drop"] == 1
    assert [numbers[n] for n in ("inside", "overlap", "outline_drop")] == pytest.approx([0] * 3)
    assert numbers["beyond"] == pytest.approx(1)


def test_a_map_of_another_place_than_the_model_uses_is_given_away_by_asking_again():
    numbers = weigh(seen(SPOT), 0.5, brightness(LETTER)).numbers
    assert numbers["region_drop"] == pytest.approx(0)
    assert "inside" not in numbers


def test_it_takes_three_passes_at_most_and_none_for_an_empty_map():
    asked = []

    def again(images: np.ndarray):
        asked.append(len(images))
        return brightness(SPOT)(images)

    weigh(seen(SPOT, outline=SPOT), 0.5, again)
    weigh(seen(np.zeros_like(SPOT)), 0.5, again)
    assert asked == [3]


def test_of_a_map_that_names_no_place_only_what_needs_none_is_told():
    """Of an empty map, evidence outside of the patient would be 100 %, and spread all over it."""
    empty = weigh(seen(np.zeros_like(SPOT), outline=SPOT, outside=0.4), 0.5, brightness(SPOT))
    assert empty.numbers == {"outside": 0.4, "outline_drop": 1}
    assert empty.without_region is None
    assert empty.without_outline.logit < 0
    faint = placeless(seen(SPOT), brightness(SPOT))
    assert (faint.numbers, faint.without_region, faint.without_outline) == ({}, None, None)


def test_the_usual_place_counts_for_a_map():
    usual = np.where(SPOT, 1.0, 0.1).astype(np.float32)
    assert free(seen(SPOT, expected=usual))["expected"] == pytest.approx(1)
    assert free(seen(LETTER, expected=usual))["expected"] == pytest.approx(0.1)


def test_a_map_where_the_model_itself_doubts_its_outline_is_unsure():
    likely = np.where(SPOT, 0.6, 0.02).astype(np.float32)
    assert free(seen(SPOT, outline=SPOT, likely=likely))["sure"] == pytest.approx(0.6)
    assert free(seen(LETTER, outline=SPOT, likely=likely))["sure"] == pytest.approx(0.02)
    assert "sure" not in free(seen(SPOT, outline=SPOT))


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers whose chance of a hit is known: log-odds 8 · inside - 6 · beyond - 1."""
    numbers = RANDOM.random((count, 2))
    chance = expit(8 * numbers[:, 0] - 6 * numbers[:, 1] - 1)
    return numbers, RANDOM.random(count) < chance


def test_the_chances_that_made_the_cases_are_found_again():
    plan = fit(("inside", "beyond"), *drawn(6000))
    assert [each.weight for each in plan.numbers] == pytest.approx([8, -6], rel=0.2)
    numbers, hits = drawn(4000)
    chances = np.array([judge(plan, {"inside": a, "beyond": b}).chance for a, b in numbers])
    for low in (0, 0.25, 0.5, 0.75):
        among = (chances >= low) & (chances < low + 0.25)
        assert hits[among].mean() == pytest.approx(chances[among].mean(), abs=0.05)


def test_no_weight_has_the_wrong_sign_whatever_the_cases_say():
    numbers, hits = drawn(500)
    plan = fit(("inside", "beyond"), 1 - numbers, hits)
    assert [each.weight for each in plan.numbers] == [0, 0]


def test_a_fit_needs_maps_of_both_kinds():
    numbers, _ = drawn(20)
    with pytest.raises(ValueError, match="give both"):
        fit(("inside", "beyond"), numbers, np.ones(20, bool))


PLAN = VerdictPlan(
    numbers=(
        VerdictNumber(name="inside", weight=6, limit=0.8),
        VerdictNumber(name="beyond", weight=-4, limit=0.1),
    ),
    bias=-2.0,
)


@pytest.mark.parametrize(
    ("inside", "beyond", "trust", "reasons"),
    [
        (0.95, 0.0, Trust.RELIABLE, (AGREE,)),
        (0.6, 0.05, Trust.CAUTION, (MEANINGS["inside"].failed,)),
        (0.8, 0.1, Trust.RELIABLE, (AGREE,)),
        (0.3, 0.9, Trust.NOT_RELIABLE, (MEANINGS["beyond"].failed, MEANINGS["inside"].failed)),
    ],
)
def test_the_verdict_gives_the_weightiest_reason_first(inside, beyond, trust, reasons):
    verdict = judge(PLAN, {"inside": inside, "beyond": beyond})
    assert (verdict.trust, verdict.reasons) == (trust, reasons)


@pytest.mark.parametrize(
    ("outside", "trust"), [(0.6, Trust.RELIABLE), (1.2, Trust.CAUTION), (3.0, Trust.CAUTION)]
)
def test_no_map_of_a_strange_image_is_reliable_however_good_its_numbers(outside, trust):
    verdict = judge(PLAN, {"inside": 0.95, "beyond": 0.0, "outside": outside})
    assert verdict.trust is trust
    assert (verdict.reasons == (MEANINGS["outside"].failed,)) is (trust is Trust.CAUTION)


def test_a_verdict_without_one_failure_says_that_all_together_are_weak():
    weak = VerdictPlan(numbers=PLAN.numbers, bias=-4.0)
    assert judge(weak, {"inside": 0.8, "beyond": 0.1}).reasons == (UNSURE,)


@pytest.mark.parametrize(
    ("hits", "centre", "average", "randomised", "passed"),
    [
        (0.9, 0.1, 0.3, 0.1, True),
        (0.5, 0.1, 0.3, 0.1, False),
        (0.9, 0.7, 0.3, 0.1, False),
        (0.9, 0.1, 0.3, 0.6, False),
    ],
)
def test_a_bundle_passes_where_its_maps_beat_both_baselines_and_follow_the_weights(
    hits, centre, average, randomised, passed
):
    check = ExplanationCheck(
        hits=hits, centre=centre, average=average, randomised=randomised, cases=50
    )
    assert check.passed is passed

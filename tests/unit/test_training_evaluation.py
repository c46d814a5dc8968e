"""Figures of a bundle are those of the textbooks, and one page shows them."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dicom_node.catalog import BundleFolder
from workers.training.brain.text import manifest_text
from workers.training.evaluation import curves
from workers.training.evaluation import figures as figures_module
from workers.training.evaluation.cases import Place, Seen
from workers.training.evaluation.figures import Cases, by_target, calibration_gap, overall
from workers.training.evaluation.page import confusion, evaluate, page
from workers.training.evaluation.scope import scope
from workers.training.evaluation.subgroups import subgroups
from workers.training.text import parse


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Of patients: enough for an interval, and soon drawn."""
    monkeypatch.setattr(figures_module, "SAMPLES", 100)
    monkeypatch.setattr(curves, "CURVES", 20)


MANIFEST = parse(manifest_text())
TYPES = 3


def case(number, truth, probabilities, **more):
    return Seen(
        name=f"{number}",
        patient=more.pop("patient", f"p{number}"),
        truth=np.arange(TYPES) == truth,
        probabilities=np.array(probabilities, np.float32),
        logits=np.log(np.array(probabilities, np.float32) + 1e-6),
        seconds=0.5,
        frames=1,
        facts=more.pop("facts", {}),
        **more,
    )


def random_cases(count, seed=0, **more):
    """Three in four are called right."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        truth = int(rng.integers(TYPES))
        called = truth if rng.random() < 0.75 else (truth + 1) % TYPES
        said = np.full(TYPES, 0.1)
        said[called] = rng.uniform(0.5, 0.78)
        made.append(case(number, truth, said, **more))
    return made


def figures(seen):
    return overall(Cases(seen, MANIFEST))


def test_only_the_likeliest_of_types_that_exclude_each_other_is_called():
    cases = Cases([case(0, 1, (0.4, 0.45, 0.1)), case(1, -1, (0.1, 0.2, 0.1))], MANIFEST)
    assert cases.calls.tolist() == [[False, True, False], [False, False, False]]
    assert cases.right.tolist() == [True, True]
    assert cases.stated[0] == pytest.approx([0.45, 0.6])
    assert cases.stated[1].tolist() == [True, True]


def test_the_area_under_roc_is_that_of_scikit_learn_and_its_interval_holds_it():
    cases = Cases(random_cases(120), MANIFEST)
    area = by_target(cases, 0)["Area under ROC"]
    assert area.value == roc_auc_score(cases.truth[:, 0], cases.probabilities[:, 0])
    assert area.low < area.value < area.high


def test_sensitivity_and_specificity_are_of_those_who_have_it_and_of_those_who_do_not():
    seen = [case(n, 0, (0.8, 0.1, 0.1)) for n in range(3)] + [
        case(3, 0, (0.1, 0.8, 0.1)),
        case(4, 1, (0.8, 0.1, 0.1)),
        case(5, 1, (0.1, 0.8, 0.1)),
    ]
    found = by_target(Cases(seen, MANIFEST), 0)
    assert (found["Sensitivity"].value, found["Sensitivity"].cases) == (0.75, 4)
    assert (found["Specificity"].value, found["Specificity"].cases) == (0.5, 2)


def test_an_interval_is_wider_where_cases_are_of_few_patients():
    alone = random_cases(100)
    shared = [
        case(n, int(s.truth.argmax()), s.probabilities, patient=f"p{n // 20}")
        for n, s in enumerate(sorted(alone, key=lambda s: bool(s.truth[s.probabilities.argmax()])))
    ]
    one, other = (figures(seen)["Cases called right"] for seen in (alone, shared))
    assert one.value == other.value
    assert other.high - other.low > 2 * (one.high - one.low)


def test_cases_of_nobody_known_count_each_by_itself():
    known, unknown = random_cases(60), random_cases(60, patient=None)
    one, other = (figures(seen)["Cases called right"] for seen in (known, unknown))
    assert other.value == one.value
    assert other.high - other.low == pytest.approx(one.high - one.low, abs=0.05)


@pytest.mark.parametrize(("patients", "lowest"), [(40, 0.9), (4, 0.5)])
def test_a_few_cases_all_called_right_do_not_make_certainty(patients, lowest):
    """Wilson's interval of 40 of 40 starts at 0.912, that of 4 of 4 at 0.510."""
    seen = [case(n, 0, (0.8, 0.1, 0.1), patient=f"p{n % patients}") for n in range(40)]
    found = figures(seen)["Cases called right"]
    assert (found.value, found.high, found.cases) == (1, pytest.approx(1), 40)
    assert lowest < found.low < lowest + 0.02


@pytest.mark.parametrize(
    ("patients", "words", "units"),
    [
        (["a", "a", "b"], "3 cases of 2 patients. Intervals", "samples of patients."),
        ([None] * 3, "3 cases; the data does not say who the patients are: each", "of cases."),
        (["a", "a", None], "2 cases of 1 patient, and 1 cases of which the data", "of cases."),
    ],
)
def test_the_page_says_of_whom_the_cases_are(tmp_path, patients, words, units):
    seen = [case(n, 0, (0.8, 0.1, 0.1), patient=patient) for n, patient in enumerate(patients)]
    html = " ".join(page(evaluate(BundleFolder(tmp_path, MANIFEST, ""), "data", seen)).split())
    assert words in html
    assert html.count(units) == 1 + TYPES
    assert ("or groups" in html, "too narrow" in html) == (False, None in patients)


def test_calibration_error_is_the_gap_between_saying_and_being():
    seen = [case(n, 0 if n < 60 else 1, (0.8, 0.1, 0.1)) for n in range(100)]
    cases = Cases(seen, MANIFEST)
    assert calibration_gap(cases, np.arange(100)) == pytest.approx(0.2, abs=1e-6)
    assert figures(seen)["Brier score"].value == pytest.approx(
        0.6 * (0.04 + 0.02) + 0.4 * (0.64 + 0.81 + 0.01), abs=1e-6
    )


def test_places_stand_beside_their_baselines_and_count_only_cases_with_a_mask():
    seen = [
        case(0, 0, (0.8, 0.1, 0.1), place=Place(True, False, True), dice=0.9),
        case(1, 0, (0.8, 0.1, 0.1), place=Place(False, False, True), dice=0.7),
        case(2, 0, (0.8, 0.1, 0.1)),
    ]
    found = figures(seen)
    assert found["Dice of the outlines"].value == pytest.approx(0.8)
    assert found["Heat map's peak in the mask"].value == 0.5
    assert found["Image centre in the mask"].value == 0
    assert found["Average mask's peak in the mask"].value == 1
    assert {found[name].cases for name in list(found)[3:]} == {2}


def test_subgroups_have_gaps_and_too_few_cases_say_nothing():
    good = [case(n, 0, (0.8, 0.1, 0.1), facts={"sex": "F", "age": "063Y"}) for n in range(10)]
    bad = [case(n, 1, (0.8, 0.1, 0.1), facts={"sex": "M", "age": "17"}) for n in range(10, 20)]
    few = [case(n, 1, (0.8, 0.1, 0.1), facts={"sex": "O"}) for n in range(20, 23)]
    found = subgroups(Cases([*good, *bad, *few], MANIFEST))
    assert [(s.name, s.right.value) for s in found["sex"]] == [("F", 1.0), ("M", 0.0)]
    assert found["sex"][0].gap.value == 1.0
    assert [s.name for s in found["age"]] == ["40 to 65 years", "below 18 years"]


def test_confusion_counts_every_case_once():
    cases = Cases(random_cases(50), MANIFEST)
    table = confusion(cases)
    assert sum(sum(row.values()) for row in table.values()) == 50
    assert sum(table[name][name] for name in table) == cases.right.sum()


def test_scope_is_two_shares():
    found = scope(np.array([0.5, 1.2]), np.array([3.0, 0.9, 2.0, 5.0]))
    assert (found.alarms.value, found.noticed.value) == (0.5, 0.75)


def test_the_page_stands_alone_and_shows_what_was_measured(tmp_path):
    seen = random_cases(40, facts={"manufacturer": "<b>Maker</b>"})
    bundle = BundleFolder(Path(tmp_path), MANIFEST, "ab" * 32)
    found = evaluate(bundle, "data & more", seen, scope(np.zeros(3), np.full(4, 2.0)))
    html = page(found)
    assert html.count("<svg") == 1 + 2 * TYPES
    assert not re.search(r"<script|(?:src|href)\s*=|url\(|@import", html)
    assert "<b>Maker" not in html
    assert "data &amp; more" in html
    right = found.figures["Cases called right"]
    assert f"<b>{right.value:.3f}</b> ({right.low:.3f} to {right.high:.3f})" in html

"""Figures of a bundle are those of the textbooks, and one page shows them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dicom_node.catalog import BundleFolder
from workers.training.brain.text import manifest_text
from workers.training.evaluation import curves
from workers.training.evaluation import figures as figures_module
from workers.training.evaluation.figures import Cases, by_target, calibration_gap
from workers.training.evaluation.page import evaluate, page
from workers.training.evaluation.scope import Foreign, held_out, inside, owners, scope
from workers.training.evaluation.sections import confusion, overall, scores, sections
from workers.training.evaluation.seen import Outline, Place, Seen
from workers.training.evaluation.subgroups import subgroups
from workers.training.measures import calibration_error, proportion, share_of
from workers.training.text import parse


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Of patients: enough for an interval, and soon drawn."""
    monkeypatch.setattr(figures_module, "SAMPLES", 100)
    monkeypatch.setattr(curves, "CURVES", 20)


MANIFEST = parse(manifest_text())
TYPES = 3


def case(number, truth, probabilities, **more):
    """The likeliest is called, unless none is likelier."""
    rest = 1 - sum(probabilities)
    likeliest = np.argmax([*probabilities, rest])
    return Seen(
        name=f"{number}",
        patient=more.pop("patient", f"p{number}"),
        truth=np.arange(TYPES) == truth,
        probabilities=np.array(probabilities, np.float32),
        called=more.pop("called", np.arange(TYPES) == likeliest),
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


def test_what_the_report_calls_present_is_measured():
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


def test_the_average_precision_is_that_of_scikit_learn_and_its_interval_holds_it():
    cases = Cases(random_cases(120), MANIFEST)
    found = by_target(cases, 1)["Average precision"]
    truth, said = cases.truth[:, 1], cases.probabilities[:, 1]
    assert found.value == average_precision_score(truth, said)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("curve", "area"), [("roc", roc_auc_score), ("precision_recall", average_precision_score)]
)
def test_the_curve_has_the_area_of_its_figure_and_lies_in_its_band(monkeypatch, curve, area):
    drawn = {}
    monkeypatch.setattr(curves.drawing, "band", lambda *edges: drawn.update(band=edges[:2]) or "")
    monkeypatch.setattr(curves.drawing, "line", lambda points, _: drawn.update(line=points) or "")
    cases = Cases(random_cases(120), MANIFEST)
    getattr(curves, curve)(cases, 0)
    at, heights = np.transpose(drawn["line"])
    low, high = (np.array(edge)[:, 1] for edge in drawn["band"])
    found = area(cases.truth[:, 0], cases.probabilities[:, 0])
    assert np.trapezoid(heights, at) == pytest.approx(found, abs=0.02)
    assert np.mean((low <= heights) & (heights <= high)) > 0.9
    assert (high - low).mean() > 0.02


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


def test_a_rate_is_as_sure_as_the_patients_that_it_is_of_are_many():
    """Of 41 patients one has it, in ten cases: all that is found is found in one patient."""
    ill = [case(n, 0, (0.8, 0.1, 0.1), patient="one") for n in range(10)]
    well = [case(n, 1, (0.1, 0.8, 0.1)) for n in range(10, 50)]
    found = by_target(Cases([*ill, *well], MANIFEST), 0)
    alone, others = proportion(1, 1), proportion(40, 40)
    assert (found["Sensitivity"].low, found["Sensitivity"].cases) == (alone.low, 10)
    assert found["Specificity"].low == others.low
    for name in ("Area under ROC", "Average precision"):
        assert (found[name].value, found[name].low) == (1, alone.low)


def test_the_interval_of_the_calibration_error_holds_it():
    """Samples of cases that are well calibrated are less so, each by chance."""
    rng = np.random.default_rng(1)
    seen = []
    for number in range(200):
        likely = rng.uniform(0.5, 0.95)
        truth = 0 if rng.random() < likely else 1
        seen.append(case(number, truth, (likely, (1 - likely) / 2, (1 - likely) / 4)))
    found = figures(seen)["Calibration error (ECE)"]
    width = found.high - found.low
    assert found.low < found.value < found.high
    assert abs(found.low + found.high - 2 * found.value) < 0.5 * width
    rng = np.random.default_rng(3)
    said = rng.random(200)
    found = calibration_error(said, rng.random(200) < said, np.arange(200))
    assert found.low < found.value < found.high


def test_cases_of_one_owner_are_no_witnesses_of_each_other():
    hits = np.arange(120) >= 30
    each, shared = (share_of(hits, np.arange(120) // many) for many in (1, 30))
    assert each == proportion(90, 120)
    assert shared.value == each.value
    assert shared.high - shared.low > 2 * (each.high - each.low)
    alike = share_of(np.ones(120, bool), np.arange(120) // 30)
    assert (alike.low, alike.cases) == (proportion(4, 4).low, 120)


@pytest.mark.parametrize(
    ("patients", "words", "units"),
    [
        (["a", "a", "b"], "3 cases of 2 patients. Intervals", "samples of patients."),
        ([None] * 3, "3 cases; the data does not say who the patients are: each", "of cases."),
        (["a", "a", None], "2 cases of 1 patient, and 1 cases of which the data", "of cases."),
    ],
)
def test_the_page_says_of_whom_the_cases_are(tmp_path, patients, words, units):
    seen = [case(n, n, (0.8, 0.1, 0.1), patient=patient) for n, patient in enumerate(patients)]
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
        case(
            0,
            0,
            (0.8, 0.1, 0.1),
            place=Place(True, 0.8, 0.5, False, True),
            outlines={"Tumour": Outline(0.9, 2.0)},
        ),
        case(
            1,
            0,
            (0.8, 0.1, 0.1),
            place=Place(False, None, None, False, True),
            outlines={"Tumour": Outline(0.7, None)},
        ),
        case(2, 0, (0.8, 0.1, 0.1)),
    ]
    found = figures(seen)
    assert found["Dice of the outlines"].value == pytest.approx(0.8)
    assert found["Heat map's place in the mask"].value == 0.5
    assert found["Image centre in the mask"].value == 0
    assert found["Average mask's peak in the mask"].value == 1
    assert found["Heat map's evidence inside the mask"].value == 0.8
    assert found["Overlap (IoU) of mask and as many hottest pixels"].value == 0.5
    counts = {name: figure.cases for name, figure in list(found.items())[3:]}
    of_maps = [name for name, count in counts.items() if count == 1]
    assert of_maps == [
        "95 % Hausdorff distance of the outlines (mm)",
        "Heat map's evidence inside the mask",
        "Overlap (IoU) of mask and as many hottest pixels",
    ]
    assert {*counts.values()} == {1, 2}


def test_subgroups_have_gaps_and_too_few_cases_say_nothing():
    good = [case(n, 0, (0.8, 0.1, 0.1), facts={"sex": "F", "age": "063Y"}) for n in range(10)]
    bad = [case(n, 1, (0.8, 0.1, 0.1), facts={"sex": "M", "age": "17"}) for n in range(10, 20)]
    few = [case(n, 1, (0.8, 0.1, 0.1), facts={"sex": "O"}) for n in range(20, 23)]
    cases = Cases([*good, *bad, *few], MANIFEST)
    found = subgroups(cases, scores(cases))
    right = [(s.name, s.scores["Cases called right"].value.value) for s in found["sex"]]
    assert right == [("F", 1.0), ("M", 0.0)]
    assert found["sex"][0].scores["Cases called right"].gap.value == 1.0
    assert [s.name for s in found["age"]] == ["below 18 years", "40 to 65 years"]


def test_cases_are_told_apart_by_how_thick_their_slices_are_and_by_who_made_the_scanner():
    """The edge of a band belongs to the thicker one; what is no number is in none."""
    written = {"1": 6, "1.5": 3, "2.9": 3, "3.0": 5, "5": 7, "thick": 9}
    facts = [
        {"slice_thickness": text, "manufacturer": f"Maker {number % 2}"}
        for text, count in written.items()
        for number in range(count)
    ]
    cases = Cases([case(n, 0, (0.8, 0.1, 0.1), facts=f) for n, f in enumerate(facts)], MANIFEST)
    found = subgroups(cases, scores(cases))
    assert [(s.name, s.cases) for s in found["slice_thickness"]] == [
        ("below 1.5 mm", 6),
        ("1.5 to 3 mm", 6),
        ("3 to 5 mm", 5),
        ("5 mm and more", 7),
    ]
    assert [s.name for s in found["manufacturer"]] == ["Maker 0", "Maker 1"]


def test_a_few_cases_all_called_right_are_no_proof_of_a_gap_or_of_none():
    """By the intervals of both shares: of five that are all right each sample is all right."""
    few = [case(n, 0, (0.8, 0.1, 0.1), facts={"sex": "F"}) for n in range(5)]
    many = [case(n, n % 5 == 0, (0.8, 0.1, 0.1), facts={"sex": "M"}) for n in range(5, 105)]
    alike = [case(n, 0, (0.8, 0.1, 0.1), facts={"sex": "M"}) for n in range(5, 105)]
    for others, value in ((many, 0.2), (alike, 0.0)):
        cases = Cases([*few, *others], MANIFEST)
        gap = subgroups(cases, scores(cases))["sex"][0].scores["Cases called right"].gap
        assert gap.value == pytest.approx(value)
        assert gap.low < -0.15


def test_a_gap_has_an_interval_that_is_wider_where_a_subgroup_is_of_few_patients():
    many = [case(n, n % 4 and 1, (0.1, 0.8, 0.1), facts={"sex": "M"}) for n in range(80)]
    few = [case(n, n % 2, (0.1, 0.8, 0.1), facts={"sex": "F"}) for n in range(80, 90)]

    def gap(patients):
        named = [replace(s, patient=f"{s.facts['sex']}{n % patients}") for n, s in enumerate(few)]
        cases = Cases([*many, *named], MANIFEST)
        woman, _ = subgroups(cases, scores(cases))["sex"]
        return woman.scores["Cases called right"].gap

    alone, shared = gap(10), gap(2)
    assert alone.value == shared.value == pytest.approx(0.5 - 0.75)
    assert alone.low < alone.value < alone.high
    assert (alone.cases, shared.cases) == (10, 10)
    assert shared.high - shared.low > 1.3 * (alone.high - alone.low)


def test_the_precision_of_a_perfect_order_is_1_up_to_the_last_case():
    truth, said = np.array([True, True, False, False]), np.array([0.9, 0.8, 0.3, 0.1])
    assert (curves._precision(truth, said) == 1).all()


def test_each_target_that_no_other_excludes_has_a_table_of_its_own():
    plan = MANIFEST.outputs[0].model_copy(update={"exclusive": False})
    manifest = MANIFEST.model_copy(update={"outputs": (plan, *MANIFEST.outputs[1:])})
    both = np.array([True, True, False])
    seen = [
        case(0, 0, (0.8, 0.7, 0.1), called=both),
        case(1, 1, (0.8, 0.1, 0.1), called=np.array([True, False, False])),
        case(2, 0, (0.1, 0.1, 0.1), called=~both),
    ]
    cases = Cases(seen, manifest)
    first, *_ = [s.counts for s in sections(cases) if s.title == "Meningioma"]
    assert first == {
        "present": {"present": 1, "absent": 1},
        "absent": {"present": 1, "absent": 0},
    }
    assert "What was called what" not in [s.title for s in sections(cases)]


def test_confusion_counts_every_case_once():
    cases = Cases(random_cases(50), MANIFEST)
    table = confusion(cases)
    assert sum(sum(row.values()) for row in table.values()) == 50
    assert sum(table[name][name] for name in table) == cases.right.sum()


def test_a_series_out_of_scope_is_noticed_by_the_rules_or_by_most_of_its_images():
    series = [
        Foreign(refused=True, scores=np.zeros(0)),
        Foreign(refused=True, scores=np.array([0.5, 0.6, 7.0])),
        Foreign(refused=False, scores=np.array([3.0, 0.9, 2.0])),
        Foreign(refused=False, scores=np.array([0.5])),
    ]
    found = scope(np.array([0.5, 1.2]), series, np.arange(2))
    assert (found.noticed.value, found.noticed.cases) == (0.75, 4)
    assert (found.alone.value, found.alone.cases) == (pytest.approx(1 / 3), 3)
    assert (found.alarms.value, found.alarms.cases) == (0.5, 2)


def test_false_alarms_are_counted_by_patients():
    """All images of one of four are flagged: its images are no 30 witnesses."""
    seen = [
        case(n, 0, (0.8, 0.1, 0.1), unfamiliar=np.full(30, 2.0 if n == 0 else 0.5), patient=who)
        for n, who in enumerate(["a", "b", None, "c", "c"])
    ]
    assert owners(seen).tolist() == [number for number in (0, 1, 2, 3, 3) for _ in range(30)]
    found = scope(inside(seen), [Foreign(True, np.zeros(0))], owners(seen)).alarms
    assert (found.value, found.cases) == (0.2, 150)
    assert (found.low, found.high > 0.5) == (0, True)


def test_nobody_sets_the_limit_that_its_own_false_alarms_are_counted_by():
    one, other = np.linspace(0, 1, 101), np.linspace(0, 2, 101)
    scores = held_out(one, other)
    assert (scores > 1).sum() == 51  # half of the others lie above the limit of the first
    assert not (scores[:101] > 1).any()


def test_the_page_stands_alone_and_shows_what_was_measured(tmp_path):
    seen = random_cases(40, facts={"manufacturer": "<b>Maker</b>"})
    bundle = BundleFolder(Path(tmp_path), MANIFEST, "ab" * 32)
    found = evaluate(
        bundle,
        "data & more",
        seen,
        scope(np.zeros(3), [Foreign(False, np.full(4, 2.0))], np.arange(3)),
    )
    html = page(found)
    assert html.count("<svg") == 1 + 2 * TYPES
    assert not re.search(r"<script|(?:src|href)\s*=|url\(|@import", html)
    assert "<b>Maker" not in html
    assert "data &amp; more" in html
    told = " ".join(html.split())
    assert "took 0.50 s in the median and 0.50 s at most" in told
    assert re.search(r"The process held [\d.]+ GiB of memory at its peak", told)
    assert 0.05 < found.peak_gib < 100
    right = found.figures["Cases called right"]
    assert f"<b>{right.value:.3f}</b> ({right.low:.3f} to {right.high:.3f})" in html

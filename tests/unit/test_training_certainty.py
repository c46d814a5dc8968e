"""A calibration is fitted on half of the patients, where it holds better; the rest measure it."""

import numpy as np
import pytest
from scipy.special import expit

from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ModelManifest
from explain.calibration import open_answers

pytest.importorskip("keras")

TOO_SURE = 3.0


@pytest.fixture
def manifest() -> ModelManifest:
    """Of one target, with a threshold of 0.5 and no calibration."""
    from workers.training.phantom_text import manifest_text
    from workers.training.text import parse

    return parse(manifest_text())


@pytest.fixture
def exclusive() -> ModelManifest:
    """Of three targets that share one probability with the rest."""
    from workers.training.brain.text import manifest_text
    from workers.training.text import parse

    return parse(manifest_text())


def changed(manifest: ModelManifest, **values) -> ModelManifest:
    from workers.training.certainty import with_targets

    return with_targets(manifest, [t.model_copy(update=values) for t in manifest.targets])


def drawn(manifest, random, count: int, odds=lambda z: z / TOO_SURE, patient=0):
    """Cases of a model whose logits are ``odds`` of the truth: as said by the manifest."""
    from workers.training.calibrating import likely
    from workers.training.heard import Heard

    logits = random.normal(0, 2.5 * TOO_SURE, (count, 1))
    truth = random.random((count, 1)) < expit(odds(logits))
    said = likely(manifest.targets, logits, shared=False)
    called = said >= manifest.targets[0].threshold
    rows = zip(logits, truth, called, said.astype(np.float32), strict=True)
    return [Heard(f"p{patient + n}", *row) for n, row in enumerate(rows)]


def drawn_of_one(manifest, random, count: int, patient=0):
    """The same of answers that exclude each other: the last is none of them."""
    from workers.training.calibrating import likely
    from workers.training.heard import Heard

    logits = random.normal(0, 2 * TOO_SURE, (count, 4))
    noisy = logits / TOO_SURE + random.gumbel(size=logits.shape)
    truth = (noisy == noisy.max(axis=1, keepdims=True))[:, :3]
    said = likely(manifest.targets, logits, shared=True)[:, :3].astype(np.float32)
    rows = zip(logits, truth, said >= 0.5, said, strict=True)
    return [Heard(f"p{patient + n}", *row) for n, row in enumerate(rows)]


def settled(manifest, count: int, draw=drawn, *, shared=False, **how):
    from workers.training.certainty import Halves, certain

    random = np.random.default_rng(5)
    halves = [draw(manifest, random, count, patient=start, **how) for start in (0, count)]
    return certain(manifest, Halves(*halves, shared), "cases")


def figures(found) -> dict[str, float]:
    return {name: f.value for each in found.measured for name, f in each.figures.items()}


def test_a_model_that_is_too_sure_gets_the_temperature_that_makes_it_right(manifest):
    found = settled(manifest, 1500)
    (target,) = found.manifest.targets
    assert target.temperature == pytest.approx(TOO_SURE, rel=0.25)
    assert (target.isotonic, target.threshold) == ((), 0.5)
    measured = figures(found)
    error = "Calibration error (ECE)"
    assert measured[error] < 0.5 * measured[f"{error} before packaging"]
    assert measured["Brier score"] < measured["Brier score before packaging"]
    assert "temperature" in found.notes[0]


def test_a_temperature_that_is_there_is_replaced_and_not_taken_twice(manifest):
    plain, again = settled(manifest, 400), settled(changed(manifest, temperature=6.0), 400)
    assert again.manifest.targets[0].temperature == plain.manifest.targets[0].temperature
    curve = ((0.1, 0.5), (0.9, 0.6))
    bent = settled(changed(manifest, isotonic=curve), 400)
    assert bent.manifest.targets[0].isotonic == ()


def test_what_is_right_stays_as_it_was(manifest):
    found = settled(changed(manifest, temperature=TOO_SURE), 400)
    assert found.manifest.targets[0].temperature == TOO_SURE
    assert "stays as it was" in found.notes[0]
    assert not any("before packaging" in name for name in figures(found))


@pytest.mark.parametrize("threshold", [0.1, 0.8])
def test_what_is_called_present_stays_where_the_probability_means_something_else(
    manifest, threshold
):
    found = settled(changed(manifest, threshold=threshold), 400)
    (target,) = found.manifest.targets
    assert target.threshold != threshold
    assert not any("called otherwise" in note for note in found.notes)
    assert f"the operating point {threshold:g} became {target.threshold:g}" in found.notes[0]


def lopsided(logits):
    """What no temperature can mend: above 0 right, below 0 far too sure that nothing is there."""
    return np.where(logits > 0, logits / TOO_SURE, logits / (10 * TOO_SURE))


def test_many_cases_bend_the_curve_where_a_temperature_is_not_enough(manifest):
    found = settled(manifest, 1500, odds=lopsided)
    (target,) = found.manifest.targets
    assert len(target.isotonic) > 2
    observed = [after for _, after in target.isotonic]
    assert observed == sorted(observed)
    measured = figures(found)
    before = measured["Calibration error (ECE) before packaging"]
    assert measured["Calibration error (ECE)"] < 0.5 * before


def test_fewer_than_a_hundred_cases_bend_no_curve(manifest):
    assert settled(manifest, 90, odds=lopsided).manifest.targets[0].isotonic == ()


def test_too_few_cases_fit_nothing_and_it_is_said_why(manifest):
    found = settled(manifest, 12)
    assert found.manifest == manifest
    assert found.measured == []
    assert all("10 of each are needed" in note for note in found.notes)
    assert len(found.notes) == 2


def test_open_answers_of_before_go_where_the_probability_means_something_else(manifest):
    from dicom_node.domain.trust import Conformal
    from workers.training.certainty import Halves, certain

    random = np.random.default_rng(5)
    old = changed(manifest, conformal=Conformal(coverage=0.9, present=0.4, absent=0.6))
    many, few = drawn(old, random, 400), drawn(old, random, 12, patient=400)
    assert certain(old, Halves(many, few, shared=False), "x").manifest.targets[0].conformal is None
    kept = certain(old, Halves(few, few, shared=False), "x").manifest.targets[0].conformal
    assert kept == old.targets[0].conformal


@pytest.mark.parametrize("coverage", [0.9, 0.8])
def test_open_answers_hold_the_truth_of_new_cases_as_often_as_stated(manifest, coverage):
    from dicom_node.domain.trust import Conformal
    from workers.training.calibrating import likely

    old = Conformal(coverage=coverage, present=0, absent=1)
    found = settled(changed(manifest, conformal=old), 1000)
    (target,) = found.manifest.targets
    new = drawn(found.manifest, np.random.default_rng(9), 3000)
    said = likely([target], np.stack([each.logits for each in new]), shared=False)[:, 0]
    for there, answer in ((True, Presence.PRESENT), (False, Presence.ABSENT)):
        rows = [n for n, each in enumerate(new) if each.truth[0] == there]
        held = np.mean([answer in open_answers(target.conformal, said[n]) for n in rows])
        assert held == pytest.approx(coverage, abs=0.04)
        name = f"{target.label} {answer.value.lower()} ({100 * coverage:g} % stated)"
        assert figures(found)[f"Open answers hold the truth, {name}"] == pytest.approx(
            coverage, abs=0.04
        )


def test_answers_that_exclude_each_other_get_one_temperature_and_open_answers_each(exclusive):
    found = settled(exclusive, 400, drawn_of_one, shared=True)
    temperatures = {target.temperature for target in found.manifest.targets}
    assert len(temperatures) == 1
    assert temperatures.pop() == pytest.approx(TOO_SURE, rel=0.25)
    assert all(t.conformal is not None and not t.isotonic for t in found.manifest.targets)
    again = ModelManifest.model_validate(found.manifest.model_dump())
    assert again.targets == found.manifest.targets
    measured = figures(found)
    error = "Calibration error (ECE)"
    assert measured[error] < measured[f"{error} before packaging"]


def test_few_that_are_all_right_are_no_reason_for_certainty(manifest):
    """A temperature that only makes likely what was seen would go to 0."""
    from workers.training.certainty import Halves, certain
    from workers.training.heard import Heard

    def apart(start: int):
        for n in range(24):
            z, there = (1.0, True) if n % 2 else (-1.0, False)
            said = np.array([expit(z)], np.float32)
            yield Heard(f"p{start + n}", np.array([z]), np.array([there]), said > 0.5, said)

    halves = Halves(list(apart(0)), list(apart(24)), shared=False)
    (target,) = certain(manifest, halves, "cases").manifest.targets
    assert expit(1 / target.temperature) <= 0.95

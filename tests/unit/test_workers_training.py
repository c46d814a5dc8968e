"""The recipe runs, repeats itself, and its figures are those of the textbooks."""

import re

import numpy as np
import pytest

from workers.training.measures import (
    calibration_error,
    dice,
    mean,
    operating_point,
    proportion,
    temperature,
)


@pytest.mark.parametrize(
    ("hits", "cases", "low", "high"),
    [(0, 10, 0.0, 0.2775), (50, 50, 0.9287, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_a_proportion_has_wilsons_interval(hits, cases, low, high):
    """The last row is the example of Newcombe 1998, Table I."""
    figure = proportion(hits, cases)
    assert (figure.low, figure.high) == (
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


def test_a_mean_has_an_interval_about_it():
    values = np.random.default_rng(0).normal(5, 1, 400)
    figure = mean(values, np.arange(400))
    assert figure.high - figure.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert figure.low < values.mean() < figure.high


def test_dice_of_two_masks():
    one = np.array([True, True, False, False])
    assert dice(one, np.array([True, False, True, False])) == 0.5
    assert dice(one, one) == 1
    assert dice(~one & one, ~one & one) == 1


def test_the_temperature_that_spoilt_logits_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    assert temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)


def test_the_operating_point_lies_in_the_widest_gap_between_well_and_ill():
    logits = np.array([-5.0, -4.0, 2.0, 3.0])
    assert operating_point(logits, logits > 0) == -1.0


def test_calibration_error_is_the_gap_between_saying_and_being():
    probabilities = np.full(1000, 0.8)
    labels = np.arange(1000) < 600
    assert calibration_error(probabilities, labels, np.arange(1000)).value == pytest.approx(0.2)


def test_figures_of_phantoms_are_told_apart_by_their_largest_lesion():
    """A band of few says nothing."""
    from workers.training.evaluate import EDGES_MM, FEW, Outcome, by_size

    def ill(size_mm, count, *, found):
        none = np.zeros(0)
        one = Outcome(1, size_mm, found, float(found), none, none > 0, none > 0, (found,))
        return [one] * count

    small, large = EDGES_MM
    found = by_size(
        [
            *ill(small - 0.1, FEW + 1, found=False),
            *ill(small, FEW, found=True),
            *ill(large, FEW - 1, found=True),
        ]
    )
    names = ["largest lesion: below 22 mm", "largest lesion: 22 to 28 mm"]
    assert list(found) == names
    rates = [found[name]["Phantoms with a lesion called present"] for name in names]
    assert [(rate.value, rate.cases) for rate in rates] == [(0, FEW + 1), (1, FEW)]
    assert [found[name]["Mean Dice of the lesion outlines"].value for name in names] == [0, 1]


@pytest.fixture(scope="module")
def seventh(tmp_path_factory):
    """A bundle of seed 7, and the stages of its making."""
    pytest.importorskip("keras")
    from workers.training.phantom_lesion import TINY, train_phantom

    stages: set[str] = set()
    folder = tmp_path_factory.mktemp("seventh")
    made = train_phantom(folder, 7, lambda what, _: stages.add(what.split(",")[0]), TINY)
    return made, stages


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_recipe_writes_a_bundle_and_repeats_its_figures(tmp_path, seventh):
    from workers.training.phantom_lesion import TINY, train_phantom

    one, stages = seventh
    other = train_phantom(tmp_path, 7, size=TINY)
    assert stages == {
        "phantoms",
        "training",
        "validating",
        "measuring",
        "maps that hit",
        "maps that miss",
        "methods compared",
        "answers left open",
    }
    assert unnumbered(one) == unnumbered(other)
    rows = one.manifest.card.performance
    assert len([row for row in rows if not row.subgroup.startswith("method: ")]) == 5
    assert "| figure | value | interval | cases |" in (one.path / "card.md").read_text()


def unnumbered(bundle):
    """The manifest; layers that nobody named are numbered from the start of the process."""
    return re.sub(r"\bconv2d_\d+", "conv2d", bundle.manifest.model_dump_json())


@pytest.mark.tensorflow
@pytest.mark.slow
def test_another_seed_trains_another_network(tmp_path, seventh):
    from workers.training.phantom_lesion import TINY, train_phantom

    one, other = seventh[0], train_phantom(tmp_path, 8, size=TINY)
    assert one.manifest.classification != other.manifest.classification

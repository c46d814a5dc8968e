"""The recipes of the small bundles run, and those that ship are what they make."""

from dataclasses import replace
from pathlib import Path

import pytest
from task_results import BUNDLES

from dicom_node.catalog import (
    CARD,
    GOLDEN_EXPECTED,
    GOLDEN_INPUT,
    MANIFEST,
    open_bundle,
    shipped_bundles,
)
from workers.arrays import read_arrays

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]
SEED = 70_000
NAMES = sorted(path.name for path in BUNDLES.iterdir())
SETTLED = ("qa-boxes", "qa-views")
"""Maps of these are settled, too: it is the same for all, and takes most of the time."""


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_makes_the_bundle_of_its_name(name, tmp_path: Path):
    from workers.training.tasks import recipe_of
    from workers.training.tasks.planted import TINY

    recipe = recipe_of(name)
    if getattr(recipe, "places", None) is not None and name not in SETTLED:
        planted = recipe.plant(SEED)
        assert recipe.places.shown(planted).shape == planted.images.pixels.shape
        recipe = replace(recipe, places=None)
    made = recipe.train(tmp_path / name, size=TINY)
    shipped = open_bundle(BUNDLES / name)
    assert made.id == shipped.id
    assert made.manifest.outputs == shipped.manifest.outputs
    assert made.manifest.selection == shipped.manifest.selection
    assert made.manifest.card.performance[0].name == shipped.manifest.card.performance[0].name
    for file in (GOLDEN_INPUT, GOLDEN_EXPECTED):
        arrays = [read_arrays(bundle.path / file) for bundle in (made, shipped)]
        assert _shapes(arrays[0]) == _shapes(arrays[1])
    given = [read_arrays(bundle.path / GOLDEN_INPUT)["pixels"] for bundle in (made, shipped)]
    assert (given[0] == given[1]).all()


def test_maps_of_a_trained_bundle_are_settled_anew_and_its_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from workers.training import shuffled
    from workers.training.tasks import recipe_of
    from workers.training.tasks.planted import Size

    monkeypatch.setattr(shuffled, "STEPS", 5)
    shipped, size = open_bundle(BUNDLES / "qa-sequence"), Size(0.1, 0.05, 0.1)
    made = recipe_of("qa-sequence").settle_again(tmp_path / "made", shipped, size=size)
    given = [bundle.manifest.explanation for bundle in (made, shipped)]
    assert given[0].method == given[1].method
    assert given[0].check.cases < given[1].check.cases
    assert made.manifest.card.performance[0] == shipped.manifest.card.performance[0]
    expected = [read_arrays(bundle.path / GOLDEN_EXPECTED) for bundle in (made, shipped)]
    assert all((expected[0][name] == expected[1][name]).all() for name in expected[1])


def _shapes(arrays):
    return {name: values.shape for name, values in arrays.items()}


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_to_the_letter_what_its_recipe_writes(name):
    from workers.training.measures import Figure
    from workers.training.tasks import classical, recipe_of
    from workers.training.tasks.text import card_text, filled

    recipe, bundle = recipe_of(name), open_bundle(BUNDLES / name)
    card = bundle.manifest.card
    text = filled(
        classical.MANIFEST if name == classical.NAME else recipe.manifest,
        bundle.manifest.explanation,
        classical.RESOURCES if name == classical.NAME else recipe.resources,
        {row.name: Figure(row.value, row.low, row.high, row.cases) for row in card.performance},
        card.training_data,
    )
    asked = classical.QUESTION if name == classical.NAME else recipe.question
    assert card.performance[0].name == asked
    assert (bundle.path / MANIFEST).read_text() == text
    assert (bundle.path / CARD).read_text() == card_text(text)


def test_no_node_offers_the_bundles_of_tasks_and_none_takes_a_patient():
    assert not {path.name for path in shipped_bundles()} & {path.name for path in BUNDLES.iterdir()}
    for path in BUNDLES.iterdir():
        rules = open_bundle(path).manifest.selection.rules
        assert [(rule.keyword, rule.matches) for rule in rules] == [("PatientID", "^PHANTOM-QA")]

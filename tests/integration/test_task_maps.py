"""The maps of each small bundle name the place of what it found: as its manifest says, and anew."""

import numpy as np
import pytest
from task_results import BUNDLES

from dicom_node.catalog import open_bundle
from dicom_node.domain.explanation import Trust

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(300)]

SEEDS = range(73_000, 73_016)
"""Of phantoms that neither a recipe nor another test has seen."""
MAPPED = [
    path.name
    for path in sorted(BUNDLES.iterdir())
    if open_bundle(path).manifest.explanation.method not in ("none", "shapley")
]
MARGIN = 0.3


@pytest.mark.parametrize("name", MAPPED)
def test_the_manifest_says_that_its_maps_beat_what_knows_nothing(name):
    bundle = open_bundle(BUNDLES / name)
    check = bundle.manifest.explanation.check
    assert check is not None
    assert check.hits >= check.centre + MARGIN
    assert check.passed
    assert bundle.manifest.explanation.verdict is not None
    area = next(f for f in bundle.manifest.card.performance if "area under the ROC" in f.name)
    assert area.value > 0.5


@pytest.mark.parametrize("name", MAPPED)
def test_maps_of_phantoms_never_used_beat_the_middle_of_the_image_too(name):
    from explain.verdict import judge
    from workers.loading import load_model
    from workers.training.tasks import recipe_of
    from workers.training.tasks.settled import tries

    model, recipe = load_model(open_bundle(BUNDLES / name)), recipe_of(name)
    found = tries(recipe.plant, recipe.places, model, SEEDS)
    assert len(found) >= 6
    hits, centre, average = (
        np.mean([getattr(each, part) for each in found]) for part in ("hit", "centre", "average")
    )
    assert hits >= max(centre, average) + MARGIN
    plan = model.manifest.explanation.verdict
    said = [judge(plan, each.numbers).trust for each in found if each.hit]
    assert np.mean([trust is Trust.NOT_RELIABLE for trust in said]) <= 0.2

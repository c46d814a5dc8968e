"""The colour bar of each small bundle fits its maps: on phantoms that its choice never saw."""

import numpy as np
import pytest
from task_results import BUNDLES

from dicom_node.catalog import open_bundle
from reports.key_slices import is_absent

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(300)]

SEEDS = range(72_000, 72_012)
EXPLAINED = [
    path.name for path in sorted(BUNDLES.iterdir()) if open_bundle(path).manifest.explained
]


@pytest.mark.parametrize("name", [name for name in EXPLAINED if name != "qa-features"])
def test_most_maps_of_what_is_there_reach_far_up_the_bar_and_few_beyond(name):
    from workers.analysis import analyse_images
    from workers.loading import load_model
    from workers.training.tasks import recipe_of
    from workers.training.tasks.planted import PROVENANCE

    model, recipe = load_model(open_bundle(BUNDLES / name)), recipe_of(name)
    analyses = [analyse_images(recipe.plant(seed).images, model, PROVENANCE) for seed in SEEDS]
    answers = [a for analysis in analyses for a in analysis.answers if not is_absent(a)]
    maps = [answer.explanation.saliency for answer in answers]
    parts = np.array([saliency.peaks.max() / saliency.full_scale for saliency in maps])
    assert len(parts) >= 3
    assert np.median(parts) > 0.6
    assert (parts > 1).mean() <= 0.4
    assert parts.max() < 1.5

"""Each box of a detector is a finding with a map of its own: of that box, on its slice alone."""

from datetime import datetime

import numpy as np
import pytest

from dicom_node.domain.findings import Presence
from dicom_node.domain.provenance import Provenance

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def analysis():
    """An untrained detector: each cell that it calls a disc is one, by chance."""
    from workers.analysis import analyse_images
    from workers.keras_model import KerasModel
    from workers.training.tasks import detection
    from workers.training.tasks.recipe import manifest_of

    keras.utils.set_random_seed(3)
    recipe = detection.RECIPES[detection.NAME]
    manifest = manifest_of(recipe)
    plan = manifest.explanation.model_copy(update={"method": "hirescam"})
    manifest = manifest.model_copy(update={"explanation": plan})
    model = KerasModel(manifest, detection.build(manifest))
    provenance = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))
    return analyse_images(recipe.plant(7).images, model, provenance)


def test_each_box_has_a_map_of_its_own_cell(analysis):
    boxes = analysis.prediction.boxes
    found = [f for f in analysis.findings if f.presence is Presence.PRESENT][:4]
    assert len(found) >= 1
    each = len(boxes.places) // len(analysis.prediction.logits)
    for finding in found:
        values = finding.explanation.saliency.values
        assert values[finding.frame].max() > 0
        assert not np.delete(values, finding.frame, axis=0).any()
        cell = boxes.places.index(finding.box) % each
        side = round(each**0.5)
        rows, columns = values.shape[1:]
        middle = [(n + 0.5) / side for n in divmod(cell, side)]
        at = [n / size for n, size in zip(np.unravel_index(values[finding.frame].argmax(),
              (rows, columns)), (rows, columns), strict=True)]  # fmt: skip
        assert at == pytest.approx(middle, abs=1.5 / side)


def test_without_a_box_the_likeliest_is_explained():
    import tensorflow as tf

    from explain.network import scores

    logits = tf.constant([[[1.0, -5.0], [3.0, -2.0]]])
    np.testing.assert_array_equal(scores(logits), [[3, -2]])
    np.testing.assert_array_equal(scores(logits, tf.constant([[1.0, 0.0]])), [[1, -5]])

"""A map that follows the weights changes with them; the check says so, and puts them back."""

import dataclasses

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.doctor import Health
from dicom_node.domain.trust import ExplanationCheck
from dicom_node.testing.phantom import phantom

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(next(p for p in shipped_bundles() if p.name == "phantom-lesion"))


@pytest.fixture(scope="module")
def images():
    from workers.training.slices import source_images

    return source_images(phantom(33_002, slices=6, size=128, slice_spacing_mm=7.0))


def test_maps_of_the_shipped_bundle_depend_on_its_weights_which_it_gets_back(bundle, images):
    from workers.keras_model import KerasModel
    from workers.preprocess import prepare
    from workers.sanity import STEPS, cascade

    network = keras.saving.load_model(bundle.path / "model.keras", compile=False)
    model = KerasModel(bundle.manifest, network)
    values = prepare(images, bundle.manifest).values
    before = model.predict(values)
    steps = cascade(model, network, values)
    assert [step.part for step in steps] == list(STEPS)
    assert steps[0].similarity <= 0.3
    after = model.predict(values)
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.attribution.maps, after.attribution.maps)


def test_the_check_refuses_maps_that_do_not_beat_the_baselines(bundle, images):
    from workers.sanity import sanity

    poor = ExplanationCheck(hits=0.4, centre=0.1, average=0.3, randomised=0.1, cases=40)
    explanation = bundle.manifest.explanation.model_copy(update={"check": poor})
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    lines = list(sanity(dataclasses.replace(bundle, manifest=manifest), images))
    assert [line.health for line in lines] == [Health.BAD, Health.OK]
    assert "average mask 30%" in lines[0].found

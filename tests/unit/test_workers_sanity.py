"""A map that follows the weights changes with them; the check says so, and puts them back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.doctor import Health
from dicom_node.domain.trust import ExplanationCheck
from dicom_node.testing.phantom import phantom

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
TASKS = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"


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
    assert [line.health for line in lines] == [Health.BAD, Health.OK, Health.OK]
    assert "average mask 30%" in lines[0].found
    assert "mean of 3 seeds" in lines[1].found
    assert lines[2].found.startswith("6 of 6 lesions in CT phantoms")


def several():
    """Cylinders, as many as a check wants; the golden file of qa-diameter has two slices."""
    from workers.training.tasks.phantoms import planting

    return planting(lambda _: ("disc",), slices=6, roaming=True)(70_000).images


@pytest.mark.parametrize("name", ["qa-boxes", "qa-diameter", "qa-sequence", "qa-views"])
def test_maps_of_every_unit_and_head_lose_their_weights(name):
    from workers.golden import golden_images
    from workers.sanity import sanity

    bundle = open_bundle(TASKS / name)
    given = several() if name == "qa-diameter" else golden_images(bundle)
    lines = {line.what: line for line in sanity(bundle, given)}
    assert "mean of 3 seeds: 25% random: " in lines["explanations, weights"].found
    assert lines["explanations, weights"].health is Health.OK


def test_a_method_of_many_passes_is_not_randomised_and_it_is_said(bundle, images):
    from workers.sanity import sanity

    costly = {"method": "integrated-gradients", "layer": None}
    explanation = bundle.manifest.explanation.model_copy(update=costly)
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    lines = {x.what: x for x in sanity(dataclasses.replace(bundle, manifest=manifest), images)}
    weights = lines["explanations, weights"]
    assert (weights.health, weights.found[:10]) == (Health.NOTE, "not tested")


class Stuck:
    """A model whose map always names the first corner."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def explainer(self):
        return self

    def explain(self, inputs, targets, where=None):
        said = self._model.explainer().explain(inputs, targets)
        signed = np.zeros_like(said.signed)
        signed[..., 0, 0] = 1
        return dataclasses.replace(said, signed=signed)


class Deaf(Stuck):
    """A model that says the same of all images."""

    def predict(self, batch):
        said = self._model.predict(batch)
        heads = {name: np.zeros_like(values) for name, values in said.heads.items()}
        return dataclasses.replace(said, heads=heads)


def test_a_map_that_does_not_go_where_a_lesion_is_planted_is_found_out(bundle, images):
    from workers.loading import load_model
    from workers.planted import planted

    model = load_model(bundle)
    line = planted(Stuck(model), images)
    assert (line.health, "place lies in 0 of them" in line.found) == (Health.NOTE, True)
    assert "try another method" in line.advice


def test_what_no_lesion_turns_to_present_is_not_tested(bundle, images):
    from workers.loading import load_model
    from workers.planted import planted

    line = planted(Deaf(load_model(bundle)), images)
    assert (line.health, line.found[:10]) == (Health.NOTE, "not tested")

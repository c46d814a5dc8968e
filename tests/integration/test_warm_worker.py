"""No study waits for a model to load: the worker's child is warm before the first one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clinic import Blind
from node import running_node

from dicom_node.catalog import Catalog, open_bundle
from dicom_node.domain.errors import CorruptBundle
from dicom_node.settings.node import Settings

pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

TASKS = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"


@pytest.fixture
def worker(tmp_path):
    from workers.bootstrap import Worker

    worker = Worker.make(Settings(data_dir=tmp_path))
    yield worker
    worker.ledger.close()


def test_each_model_is_loaded_and_run_once_for_each_size_of_batch(worker):
    from workers.warm import warm_up

    warm_up(worker)
    for bundle in worker.catalog.bundles:
        model = worker.model(bundle)
        explainer = model.explainer()
        before = getattr(explainer, "traces", 0)
        model.predict(np.zeros((3, *bundle.manifest.input.shape), np.float32))
        assert getattr(explainer, "traces", 0) == before
    assert len(worker._models) == len(worker.catalog.bundles)


def traces(model) -> int:
    """How often anything of a model was compiled."""
    explainer = model.explainer()
    scored = getattr(explainer, "_scored", explainer)
    return scored.traces + model._call.experimental_get_tracing_count()


@pytest.mark.parametrize("method", ["hirescam", "integrated-gradients"])
@pytest.mark.parametrize("name", ["qa-boxes", "qa-diameter"])
def test_the_first_study_compiles_nothing_not_even_to_explain(worker, name, method):
    from workers.analysis import analyse_images
    from workers.keras_model import KerasModel
    from workers.training.evaluate import PROVENANCE
    from workers.training.tasks import detection, regression
    from workers.warm import warm_up

    bundle = open_bundle(TASKS / name)
    plan = {"method": method, "layer": None, "measure_passes": 40, "full_scale": 1e-6}
    explanation = bundle.manifest.explanation.model_copy(update=plan)
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    model = KerasModel.load(replace(bundle, manifest=manifest))
    worker.catalog = Catalog((bundle,))
    worker._models[bundle.sha256] = model
    warm_up(worker)
    before = traces(model)
    recipe = {**detection.RECIPES, **regression.RECIPES}[name]
    analysis = analyse_images(recipe.plant(70_004).images, model, PROVENANCE)
    assert any(answer.explanation.quality.measures for answer in analysis.answers)
    assert traces(model) == before


def test_a_model_that_fails_keeps_no_other_from_its_studies(worker, monkeypatch, capsys):
    from dicom_node.observe import set_up_logging
    from workers import bootstrap, warm

    set_up_logging(worker.settings.log)

    one = worker.catalog.bundles[0]
    worker.catalog = type("Two", (), {"bundles": (one, one)})()
    asked = []

    def load(bundle):
        asked.append(bundle.id)
        if len(asked) == 1:
            raise CorruptBundle("its weights are cut")
        return Blind(bundle.manifest, {})

    monkeypatch.setattr(bootstrap, "load_model", load)
    warm.warm_up(worker)
    told = capsys.readouterr().err
    assert "model.cold" in told
    assert CorruptBundle.code in told
    assert "model.warm" in told


@pytest.mark.slow
@pytest.mark.redis
def test_a_worker_warms_up_before_any_study(tool, tmp_path):
    tool("redis-server")
    with running_node(tmp_path, None) as node:
        node.wait_for(lambda: "model.warm" in node.log.read_text(), timeout_s=200)
        assert "job.claimed" not in node.log.read_text()

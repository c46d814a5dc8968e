"""No study waits for a model to load: the worker's child is warm before the first one."""

import numpy as np
import pytest
from clinic import Blind
from node import running_node

from dicom_node.domain.errors import CorruptBundle
from dicom_node.settings.node import Settings

pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow


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

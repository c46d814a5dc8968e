"""I5, I6, I10, I13: sweep, workers and Redis are killed, frozen and emptied; each study is analysed
once from all of its images, and the archive gets each object."""

import time

import pytest
from back import Back, stop_all
from campaign import often
from processes import PATIENCE_S, wait_until

from dicom_node.testing.pacs import FakePacs

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(1800)]
SWEEP = ("sweep.routed", "sweep.closed", "sweep.ringing", "sweep.rung", "ledger.committing",
         "ledger.committed")  # fmt: skip
WORKER = ("worker.claimed", "worker.analysed", "store.written", "store.kept", "ship.claimed",
          "ship.answered", "ship.settled", "ledger.committing:3", "ledger.committed:3")  # fmt: skip


@pytest.fixture(scope="module")
def back(tool, campaign, tmp_path_factory):
    folder = tmp_path_factory.mktemp("back")
    with FakePacs(folder / "pacs") as pacs, Back(folder, campaign, pacs, tool("redis-server")) as b:
        yield b


@pytest.fixture
def worker(back):
    running = back.start("worker")
    yield running
    stop_all(running)


@pytest.fixture
def sweep(back):
    running = back.start("sweep")
    yield running
    stop_all(running)


def test_sweep_killed_at_each_point(back, worker):
    for point in SWEEP:
        for passage in range(1, often(2, 4)):
            doomed = back.start("sweep", f"{point}:{passage}")
            studies = [back.study() for _ in range(passage)]
            assert doomed.ended(PATIENCE_S), point
            began = time.monotonic()
            sweep = back.start("sweep")
            back.judged(f"sweep killed at {point}", began, *studies)
            sweep.kill()


@pytest.mark.parametrize("point", WORKER[::1])
def test_worker_killed_at_each_point(point, back, sweep):
    doomed = back.start("worker", point)
    wait_until(doomed.children, "the worker's child")
    first = doomed.children()
    study = back.study()
    wait_until(lambda: not first <= doomed.children(), f"a child that dies at {point}")
    doomed.kill_family()
    began = time.monotonic()
    worker = back.start("worker")
    back.judged(f"worker killed at {point}", began, study)
    worker.kill_family()

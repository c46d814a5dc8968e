"""I5, I6, I10, I13: sweep, workers and Redis are killed, frozen and emptied; each study is analysed
once from all of its images, and the archive gets each object."""

import random
import time

import pytest
from back import Back, stop_all
from campaign import often
from points import FREEING, SWEEP, WORKER
from processes import PATIENCE_S, wait_until

from dicom_node.testing.pacs import FakePacs

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(1800)]


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


def test_sweep_killed_while_it_frees_the_claim_of_a_dead_worker(back):
    sweep = back.start("sweep", FREEING)
    doomed = back.start("worker", "worker.claimed")
    wait_until(doomed.children, "the worker's child")
    first = doomed.children()
    study = back.study()
    wait_until(lambda: not first <= doomed.children(), "a child that dies with a claim")
    doomed.kill_family()
    assert sweep.ended(PATIENCE_S)
    began = time.monotonic()
    running = [back.start("sweep"), back.start("worker")]
    back.judged(f"sweep killed at {FREEING}", began, study)
    stop_all(*running)


def test_sweep_and_worker_killed_at_any_time(back):
    chance = random.Random("jobs")
    for _ in range(often(3, 30)):
        running = [back.start("sweep"), back.start("worker")]
        study = back.study()
        time.sleep(chance.uniform(0.3, 3))
        stop_all(*running)
        began = time.monotonic()
        running = [back.start("sweep"), back.start("worker")]
        back.judged("sweep and worker killed at a random time", began, study)
        stop_all(*running)


@pytest.mark.parametrize("point", WORKER)
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

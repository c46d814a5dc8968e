"""I5, I6, I10, I13: sweep and workers are killed, and any of their calls to the disk may fail; each
study is analysed once from all of its images, and the archive gets each object."""

import itertools
import random
import re
import time

import pytest
from back import Back, stop_all
from campaign import FULL, often
from points import FREEING, SWEEP, WORKER
from processes import PATIENCE_S, wait_until
from tracing import injecting, traced

from dicom_node.broker import QUEUES
from dicom_node.testing.pacs import FakePacs

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(1800)]


ERRORS = ("ENOSPC", "EIO")
LEDGER, STORE = "ledger.sqlite3-wal", "store/"
CALLS_OF_SWEEP = {
    # what fails: (the calls, which of them, of which file)
    "ledger write": (["pwrite64"], "1+", LEDGER),
    "ledger commit": (["fdatasync"], "1+", LEDGER),
}
CALLS_OF_WORKER = {
    "write of a result": (["write"], "4", STORE),
    "sync of a result": (["fsync"], "1", STORE),
    "sync of a folder": (["fsync"], "2", STORE),
    "rename into the store": (["?rename", "?renameat", "?renameat2"], "1", STORE),
    "ledger write": (["pwrite64"], "1+", LEDGER),
    "commit of a claim": (["fdatasync"], "1+", LEDGER),
    "commit of results": (["fdatasync"], "2+", LEDGER),
    "commit of a delivery": (["fdatasync"], "4+", LEDGER),
}


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


def test_any_call_of_the_sweep_fails(back, sweep, worker, tool):
    for what, error in each(CALLS_OF_SWEEP):
        began = time.monotonic()
        study = fail(back, tool("strace"), sweep, sweep.pid, error, *CALLS_OF_SWEEP[what])
        back.judged(f"sweep, {what} fails with {error}", began, study)
    assert not sweep.ended()


def test_any_call_of_a_worker_fails(back, sweep, worker, tool):
    (child,) = idle(back, worker)
    for what, error in each(CALLS_OF_WORKER):
        rest(back)
        began = time.monotonic()
        study = fail(back, tool("strace"), worker, child, error, *CALLS_OF_WORKER[what])
        back.judged(f"worker, {what} fails with {error}", began, study)
    assert worker.children() == {child}
    assert "library.message" not in worker.log.read_text(), "nobody foresaw it"


def idle(back, worker):
    """The child of a worker that is up and has nothing to do, so that its calls can be counted."""
    back.wait(back.study())
    rest(back)
    return worker.children()


def rest(back):
    """Until nothing is asked of a worker any more."""
    wait_until(lambda: not any(map(back.redis.llen, QUEUES.values())), "an empty queue")
    time.sleep(1)


def each(calls):
    """With each error; in the bounded form with one after the other."""
    return itertools.product(calls, ERRORS) if FULL else zip(calls, itertools.cycle(ERRORS))


def fail(back, strace, running, pid, error, calls, when, where):
    """Let calls fail until the log tells of it; returns the study that came meanwhile."""
    options = injecting(calls, error, when)
    if where == LEDGER:
        options += ["-P", str(back.folder / "data" / LEDGER)]
    before = told(running)
    with traced(strace, pid, back.folder / f"trace-{time.monotonic_ns()}", *options) as trace:
        study = back.study()
        wait_until(lambda: told(running) > before, "a word of it")
    lines = trace.file.read_text().splitlines()
    assert all(where in line for line in lines if "(INJECTED)" in line), lines
    return study


def told(running):
    """How often the log names the disk as the reason."""
    return len(re.findall("NO_SPACE|STORAGE_IO", running.log.read_text()))

"""I5, I6, I10, I11, I13 to I15: Redis forgets, freezes, dies; workers hang, crash, wake up late."""

import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime

import pytest
from back import Back, freeze
from campaign import FULL, Injection, often
from canary import hits
from clock import clock
from processes import is_stopped, launch, wait_until
from stand_in import POISON, STUCK
from ward import Visitor, Ward

from dicom_node.domain.job import MAX_ATTEMPTS
from dicom_node.testing.pacs import FakePacs

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(1800)]
STUDIES = 4


@pytest.fixture(scope="module")
def back(tool, campaign, tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker")
    with FakePacs(folder / "pacs") as pacs, Back(folder, campaign, pacs, tool("redis-server")) as b:
        yield b


@pytest.fixture
def sweep(back):
    running = back.start("sweep")
    yield running
    running.kill_family()


@pytest.fixture
def worker(back):
    running = back.start("worker")
    yield running
    running.kill_family()


def emptied(back):
    back.redis.flushall()


def killed(back):
    back.stop_redis()
    back.start_redis()


def killed_and_its_file_deleted(back):
    back.stop_redis()
    shutil.rmtree(back.folder / "redis")
    back.start_redis()


def frozen(back):
    freeze(back.server.pid, 4)


def away_for_a_while(back):
    back.stop_redis()
    time.sleep(3)
    back.start_redis()


@pytest.mark.parametrize(
    "fault", [emptied, killed, killed_and_its_file_deleted, frozen, away_for_a_while]
)
def test_redis(fault, back, sweep, worker):
    for _ in range(often(1, 5)):
        hurt(back, fault)


def hurt(back, fault):
    studies = [back.study() for _ in range(STUDIES)]
    wait_until(lambda: any(map(back.finished, studies)), "the first of the studies")
    began = time.monotonic()
    fault(back)
    back.judged(f"redis {fault.__name__.replace('_', ' ')}", began, *studies)


def test_a_worker_that_wakes_up_after_its_lease_commits_nothing(back, sweep):
    """Two workers with one job: the token decides."""
    for _ in range(often(1, 5)):
        oversleep(back)


def oversleep(back):
    sleeper = back.start("worker", "worker.analysed:1:STOP")
    wait_until(sleeper.children, "its child")
    (child,) = sleeper.children()
    study = back.study()
    wait_until(lambda: is_stopped(child), "a worker that sleeps")
    os.kill(sleeper.pid, signal.SIGSTOP)
    began = time.monotonic()
    other = back.start("worker")
    back.wait(study)
    os.kill(sleeper.pid, signal.SIGCONT)
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: "job.claim_lost" in sleeper.log.read_text(), "the loss of its claim")
    back.judged("two workers with one job", began, study)
    sleeper.kill_family()
    other.kill_family()


def test_memory_error_costs_a_try_and_not_the_worker(back, sweep):
    worker = back.start("worker", "worker.claimed:1:MEMORY")
    unlucky = back.study()
    wait_until(lambda: reasons(back, unlucky) == ["MEMORY"], "the reason")
    began = time.monotonic()
    back.judged("memory error in a worker", began, back.study())
    assert not worker.ended()
    back.judged("memory error in a worker, next try", began, unlucky)
    worker.kill_family()


@pytest.mark.skipif(not FULL, reason="the soft limit takes ten seconds: make faults")
def test_a_hang_ends_at_the_soft_limit(back, sweep):
    worker = back.start("worker", "worker.analysed:1:HANG")
    study = back.study()
    wait_until(lambda: "TIME_LIMIT" in str(reasons(back, study)), "the limit", 60)
    worker.kill_family()
    began = time.monotonic()
    worker = back.start("worker")
    back.judged("worker hangs", began, study)
    worker.kill_family()


def test_a_hang_outside_of_python_ends_at_the_hard_limit(back, sweep, worker):
    """The child cannot hear of the soft limit: its parent tells of it, and replaces it."""
    wait_until(worker.children, "its child")
    stuck = worker.children()
    study = back.study(PatientID=STUCK)
    wait_until(lambda: reasons(back, study) == ["TIME_LIMIT"], "the limit", 60)
    began = time.monotonic()
    back.judged("worker hangs outside of Python", began, study)
    assert jobs_of(back, study)[0]["attempt"] == 2
    assert stuck.isdisjoint(worker.children()), "the child that hung is there"
    assert not worker.ended()
    assert '"worker.hung"' in worker.log.read_text()


def reasons(back, uid):
    page = back.ledger.pages.study(uid)
    return [job["reason"] for job in page.jobs] if page else []


def test_a_poisoned_study_stops_no_other(back, sweep, worker):
    """SIGSEGV at each try: quarantined after the third, and its neighbours are done meanwhile."""
    began = time.monotonic()
    poisoned = back.study(PatientID=POISON)
    others = [back.study() for _ in range(STUDIES)]
    back.judged("a study that crashes its worker: the others", began, *others)
    wait_until(lambda: jobs_of(back, poisoned)[0]["state"] == "QUARANTINED", "quarantine", 60)
    (job,) = jobs_of(back, poisoned)
    back.campaign.add(
        Injection("jobs", "a study that crashes its worker", job["attempt"] == MAX_ATTEMPTS,
                  recovery_s=time.monotonic() - began)
    )  # fmt: skip


def jobs_of(back, uid):
    return back.ledger.pages.study(uid).jobs


def test_a_late_slice_makes_the_next_generation(back, sweep, worker):
    """While the first is anywhere on its way; no object is made of a mixed input."""
    for moment_s in (0.2, 0.7, 1.0, 1.5)[: often(2, 4)]:
        number = time.monotonic_ns() % 10**9
        for image in range(1, 6):
            uid = back.receive(number, image)
        time.sleep(moment_s)
        began = time.monotonic()
        back.receive(number, 6)
        back.judged("a late slice", began, uid)


@pytest.mark.parametrize("jump", [86400, -86400])
def test_the_clock_jumps_a_day(jump, tool, back, worker):
    """Nothing closes early, and what is done is done once."""
    hands = clock(back.folder, tool)
    sweep = launch("sweep", back.config, hands.environment)
    try:
        assert sweep.ready("sweep.ready")
        early = back.study()
        back.wait(early)
        began = time.monotonic()
        study = back.study()
        hands.move(jump)
        back.judged(f"clock jumps {jump:+d} s", began, study, early)
        last = json.loads(sweep.log.read_text().splitlines()[-1])["timestamp"]
        jumped = datetime.fromisoformat(last) - datetime.now(UTC)
        assert abs(jumped.total_seconds() - jump) < 3600, "the clock did not jump"
    finally:
        sweep.kill_family()


def test_nothing_of_a_patient_is_told(back):
    """I14: after all of the above, with a canary in every study; files of the data folder are
    where patients belong."""
    places = {p.name: p.read_bytes() for p in back.folder.glob("*.log")}
    dump = [f"{k!r} {back.redis.dump(k)!r}".encode() for k in back.redis.scan_iter("*")]
    places |= {"redis keys": b"".join(dump)}
    append_only = (back.folder / "redis").rglob("*.aof")
    places |= {p.name: p.read_bytes() for p in append_only if p.is_file()}
    pages = (back.ledger.pages.study(uid) for uid in back.studies)
    events = [json.dumps(event, default=str) for page in pages if page for event in page.events]
    metrics = Visitor(Ward(back.ledger, back.store)).get("/metrics").text
    places |= {"events": "".join(events).encode(), "metrics": metrics.encode()}
    assert sum(map(len, places.values())) > 10_000
    found = hits(places)
    back.campaign.add(
        Injection("privacy", "canary in logs, Redis, events, metrics", not found, note=str(found))
    )

"""I15: the clock of the whole node is set two hours forward or back, while a study arrives by the
real listener and while a worker holds a job; nothing happens early, and nothing hangs."""

import json
import time

import pytest
from back import LEASE_S, Back
from clock import clock
from processes import PATIENCE_S, launch, wait_until
from stand_in import SLOW

from dicom_node.testing.pacs import FakePacs

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(600)]
HOURS = {"forward": 7200, "back": -7200}
QUIET_S, DEADLINE_S, GAP_S, SOON_S = 4.0, 15.0, 1.0, 20.0
"""Images come closer together than the quiet period; what is due happens soon."""
START_S = 120.0


class Node(Back):
    """A node whose clock moves: listener, sweep and worker live by it."""

    def __enter__(self):
        super().__enter__()
        self.sweep, self.worker = self.live("sweep"), self.live("worker")
        return self

    def __exit__(self, *error):
        self.sweep.kill_family()
        self.worker.kill_family()
        super().__exit__(*error)

    def live(self, role):
        running = launch(role, self.config, self.environment)
        wait_until(lambda: f"{role}.ready" in running.log.read_text(), role, START_S)
        return running

    def closed(self, uid):
        """Why the sweep closed a study, each time."""
        lines = map(json.loads, self.sweep.log.read_text().splitlines())
        return [x["reason"] for x in lines if x["event"] == "study.closed" and x["study"] == uid]

    def jobs(self, uid):
        page = self.ledger.pages.study(uid)
        return page.jobs if page else []

    def is_analysing(self, uid):
        return [job["state"] for job in self.jobs(uid)] == ["ANALYSING"]


@pytest.fixture(scope="module", params=HOURS)
def moved(request, tool, campaign, tmp_path_factory):
    """A node, its clock, and how far that is to be moved."""
    folder = tmp_path_factory.mktemp("clock")
    hands, jump = clock(folder, tool), HOURS[request.param]
    periods = f"quiet_s = {QUIET_S}\ndeadline_s = {DEADLINE_S}"
    with (
        FakePacs(folder / "pacs") as pacs,
        Node(
            folder / "node", campaign, pacs, tool("redis-server"), "clock",
            completeness=periods, environment=hands.environment,
        ) as node,
    ):  # fmt: skip
        yield node, hands, jump


@pytest.fixture(autouse=True)
def _right_again(moved):
    yield
    moved[1].move(0)


def test_a_study_that_arrives_is_closed_when_it_is_quiet_and_not_before(moved):
    node, hands, jump = moved
    number = node.new_number()
    for image in range(1, 5):
        last = time.monotonic()
        uid = node.receive(number, image)
        if image == 2:
            hands.move(jump)
        time.sleep(GAP_S)
        assert node.closed(uid) == []
    began = time.monotonic()
    wait_until(lambda: node.closed(uid), "the end of the quiet period")
    assert QUIET_S <= time.monotonic() - last < QUIET_S + SOON_S
    assert node.closed(uid) == ["QUIET"]
    node.judged(f"clock {jump:+d} s, a study arrives", began, uid)
    assert [job["attempt"] for job in node.jobs(uid)] == [1]
    assert abs(off(node, uid) - jump) < 600, "the listener's clock did not move"


def test_a_study_that_never_ends_is_closed_at_its_deadline(moved):
    node, hands, jump = moved
    number, first = node.new_number(), time.monotonic()
    for image in range(1, 100):
        uid = node.receive(number, image)
        if image == 2:
            hands.move(jump)
        time.sleep(GAP_S / 2)
        if node.closed(uid):
            break
    took = time.monotonic() - first
    assert DEADLINE_S <= took < DEADLINE_S + SOON_S
    assert node.closed(uid)[0] == "DEADLINE"
    node.judged(f"clock {jump:+d} s, a study never ends", time.monotonic(), uid)


def test_a_worker_that_beats_keeps_its_job(moved):
    """For three leases."""
    node, hands, jump = moved
    uid = node.study(PatientID=SLOW)
    wait_until(lambda: node.is_analysing(uid), "its claim")
    began = time.monotonic()
    hands.move(jump)
    node.judged(f"clock {jump:+d} s, a worker works", began, uid)
    assert "job.lease_lost" not in node.sweep.log.read_text()
    assert [job["attempt"] for job in node.jobs(uid)] == [1]


def test_a_worker_that_died_loses_its_job_in_time(moved):
    node, hands, jump = moved
    uid = node.study(PatientID=SLOW)
    wait_until(lambda: node.is_analysing(uid), "its claim")
    hands.move(jump)
    node.worker.kill_family()
    began = time.monotonic()
    wait_until(lambda: "job.lease_lost" in node.sweep.log.read_text(), "the loss", PATIENCE_S)
    assert time.monotonic() - began < LEASE_S + SOON_S
    node.worker = node.live("worker")
    node.judged(f"clock {jump:+d} s, a worker dies", began, uid)
    assert [job["attempt"] for job in node.jobs(uid)] == [2]


def off(node, uid):
    """Seconds between the first and the last image, by the clock of the listener."""
    page = node.ledger.pages.study(uid)
    return page.study["last_received_at"] - page.study["first_received_at"]

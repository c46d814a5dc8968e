"""The sweep finds in the ledger all that is due, however often it or anyone else was killed."""

import pytest
from log_lines import log_lines
from world import World, receive_all, state_of

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.job import JobState
from dicom_node.headers import read_study
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def study():
    return make_study(phantom(1, slices=3, size=32))


def test_a_quiet_study_gets_its_job_and_a_ring(world, study):
    receive_all(world, study)
    world.pass_time(59)
    assert world.broker.jobs == []
    world.pass_time(1)
    assert world.broker.jobs == world.ledger.jobs.waiting()
    assert state_of(world, study)["state"] == "ROUTED"
    assert state_of(world, study)["attributes"]["PatientID"] == "PHANTOM-1"


def test_a_lost_ring_is_rung_again(world, study):
    receive_all(world, study)
    world.pass_time(60)
    world.broker.jobs.clear()
    world.pass_time(29)
    assert world.broker.jobs == []
    world.pass_time(11)
    assert len(world.broker.jobs) == 1


def test_a_broker_that_was_down_is_rung_when_it_is_back(world, study):
    world.broker.down = True
    receive_all(world, study)
    world.pass_time(120)
    world.broker.down = False
    world.pass_time(10)
    assert len(world.broker.jobs) == 1


def test_a_killed_sweep_is_replaced_without_loss(world, study):
    receive_all(world, study)
    world.pass_time(60)
    world.sweep = world.new_sweep()
    world.pass_time(10)
    assert len(world.broker.jobs) == 2


def test_a_dead_worker_loses_its_claim_and_the_third_loss_quarantines(world, study):
    receive_all(world, study)
    world.pass_time(60)
    (job_id,) = world.ledger.jobs.waiting()
    for _ in range(3):
        assert world.ledger.jobs.claim(job_id)
        world.pass_time(60)
    job = world.ledger.jobs.get(job_id)
    assert (job.state, job.reason) == (JobState.QUARANTINED, "LEASE_LOST")


def test_a_beating_worker_keeps_its_claim(world, study):
    receive_all(world, study)
    world.pass_time(60)
    claim = world.ledger.jobs.claim(world.ledger.jobs.waiting()[0])
    for _ in range(10):
        world.ledger.jobs.beat(claim)
        world.pass_time(30)
    assert world.ledger.jobs.get(claim.id).state is JobState.ANALYSING


def test_a_clock_that_jumps_a_day_closes_nothing_and_kills_no_claim(world, study, monkeypatch):
    import time

    real = time.time
    receive_all(world, study)
    world.pass_time(30)
    monkeypatch.setattr(time, "time", lambda: real() + 86400)
    world.pass_time(20)
    assert state_of(world, study)["state"] == "RECEIVING"
    monkeypatch.setattr(time, "time", lambda: real() - 86400)
    world.pass_time(20)
    assert state_of(world, study)["state"] == "ROUTED"


def test_a_late_image_makes_the_next_generation(world, study):
    receive_all(world, study[:2])
    world.pass_time(60)
    world.receive(study[2])
    world.sweep.once()
    world.pass_time(60)
    (job_id,) = world.ledger.jobs.waiting()
    job = world.ledger.jobs.get(job_id)
    assert job.generation == 2
    assert len(job.inputs[0].instances) == 3


def test_two_patients_under_one_study_are_quarantined(world, study):
    study[1].PatientID = "OTHER"
    receive_all(world, study)
    world.pass_time(60)
    assert (state_of(world, study)["state"], state_of(world, study)["reason"]) == (
        "QUARANTINED",
        "PATIENT_MIX",
    )


def test_one_uid_with_two_contents_is_quarantined_and_both_are_kept(world, study):
    receive_all(world, study)
    study[0].SeriesDescription = "changed"
    world.receive(study[0])
    world.sweep.once()
    world.pass_time(60)
    assert state_of(world, study)["reason"] == "UID_CONFLICT"
    assert len(world.ledger.studies.instances(study[0].StudyInstanceUID)) == 4


class TestAStudyThatBreaksTheSweep:
    """By whatever nobody thought of."""

    @pytest.fixture
    def broken(self, world, study, monkeypatch):
        def read(uid, *rest):
            if uid == study[0].StudyInstanceUID:
                raise ZeroDivisionError
            return read_study(uid, *rest)

        with monkeypatch.context() as patched:
            patched.setattr("dicom_node.sweep.read_study", read)
            yield patched

    def test_others_are_closed_and_it_is_held_back_after_three_tries(self, world, study, broken):
        other = make_study(phantom(2, slices=3, size=32))
        receive_all(world, study)
        receive_all(world, other)
        with log_lines() as lines:
            world.pass_time(150)
        assert state_of(world, other)["state"] == "ROUTED"
        held = state_of(world, study)
        assert (held["state"], held["reason"]) == ("QUARANTINED", "INTERNAL")
        told = [(x["event"], x["reason"]) for x in lines if x["log_level"] in ("error", "warning")]
        assert told == [("study.stopped", "INTERNAL")] * 3 + [("study.quarantine", "INTERNAL")]

    def test_a_sweep_that_starts_anew_tries_it_again(self, world, study, broken):
        receive_all(world, study)
        world.pass_time(150)
        broken.undo()
        assert world.ledger.studies.reopen("INTERNAL") == [study[0].StudyInstanceUID]
        world.pass_time(150)
        assert state_of(world, study)["state"] == "ROUTED"


def test_results_are_rung_for_and_a_dead_sender_gives_them_back(world, study):
    receive_all(world, study)
    world.pass_time(60)
    claim = world.ledger.jobs.claim(world.ledger.jobs.waiting()[0])
    stored = StoredResult("2.25.1", "1.2", "1.3", "AI", ResultKind.SEGMENTATION, 0, "d" * 64, 9)
    kinds = {"pacs": tuple(ResultKind)}
    world.ledger.jobs.complete(claim, [stored], kinds, summary={}, report_sha256="")
    world.pass_time(10)
    assert world.broker.shipments == [(claim.id, "pacs")]
    assert world.ledger.deliveries.claim(claim.id, "pacs")
    world.pass_time(60)
    assert world.ledger.deliveries.claim(claim.id, "pacs")

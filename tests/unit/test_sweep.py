"""The sweep finds in the ledger all that is due, however often it or anyone else was killed."""

import time

import pytest
from billiard.exceptions import TimeLimitExceeded
from log_lines import log_lines
from outbox import PACS, Outbox
from world import World, receive_all, state_of

from dicom_node.broker import ANALYSE, QUEUES, CeleryBroker
from dicom_node.demo.broker import in_process_broker
from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.errors import BrokerUnavailable
from dicom_node.domain.job import JobState, Proposal, SelectedSeries
from dicom_node.domain.study import Instance, Study
from dicom_node.headers import DirectReader, read_study
from dicom_node.ledger import Recording
from dicom_node.redis_server import free_port
from dicom_node.routing import route
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study
from workers import tasks

MODALITY = b"\x08\x00\x60\x00CS\x02\x00CT"


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


def test_while_no_worker_comes_one_ring_is_enough(world, study):
    """A worker that was away for a night would else hear a thousand for each study first."""
    world.broker.keeps = True
    receive_all(world, study)
    world.pass_time(150)
    assert len(world.broker.jobs) == 1
    world.broker.jobs.clear()
    world.pass_time(40)
    assert len(world.broker.jobs) == 1


def test_the_broker_says_how_many_rings_nobody_heard():
    with in_process_broker() as url:
        broker = CeleryBroker(url)
        assert [broker.unheard(task) for task in QUEUES] == [0, 0]
        broker.ring_job("1")
        broker.ring_job("2")
        broker.ring_shipment("1", "pacs")
        assert [broker.unheard(task) for task in QUEUES] == [2, 1]
        broker.close()


def test_a_broker_that_is_not_there_says_nothing():
    broker = CeleryBroker(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(BrokerUnavailable):
        broker.unheard(ANALYSE)


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


def test_a_claim_that_somebody_else_frees_meanwhile_ends_no_sweep(world, study, monkeypatch):
    """All studies would have to be quiet anew for the one that is started in its place."""
    receive_all(world, study)
    world.pass_time(60)
    jobs = world.ledger.jobs
    (job_id,) = jobs.waiting()
    assert jobs.claim(job_id)
    abandoned = jobs.abandoned

    def meanwhile(job_id, token):
        claim = abandoned(job_id, token)
        jobs.release(claim, "DEVICE_MEMORY")
        return claim

    monkeypatch.setattr(jobs, "abandoned", meanwhile)
    world.pass_time(60)
    assert jobs.get(job_id).reason == "DEVICE_MEMORY"


def test_of_claims_at_the_hard_limit_only_the_own_is_freed(world, study, monkeypatch):
    """One that the sweep has given to another worker meanwhile is that worker's."""
    receive_all(world, study)
    world.pass_time(60)
    claim = world.ledger.jobs.claim(world.ledger.jobs.waiting()[0])
    for token, state in (("0" * 36, JobState.ANALYSING), (claim.token, JobState.READY)):
        monkeypatch.setattr(tasks, "_TOKEN", token.encode())
        tasks.free_hung(world.ledger, claim.id, TimeLimitExceeded(15))
        assert world.ledger.jobs.get(claim.id).state is state
    assert world.ledger.jobs.get(claim.id).reason == "TIME_LIMIT"


def test_a_beating_worker_keeps_its_claim(world, study):
    receive_all(world, study)
    world.pass_time(60)
    claim = world.ledger.jobs.claim(world.ledger.jobs.waiting()[0])
    for _ in range(10):
        world.ledger.jobs.beat(claim)
        world.pass_time(30)
    assert world.ledger.jobs.get(claim.id).state is JobState.ANALYSING


def test_a_clock_that_jumps_a_day_closes_nothing_and_kills_no_claim(world, study, monkeypatch):
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


class TestAltered:
    """A header that the disk has changed is believed by nobody."""

    @pytest.fixture
    def rotten(self, world, study):
        """A study that arrived, one byte of whose first image then changed: CT became CR."""
        for data in study:
            world.receive(data)
        file = self.file(world, study[0])
        self.content = file.read_bytes()
        assert self.content.count(MODALITY) == 1
        self.write(file, self.content.replace(MODALITY, MODALITY[:-1] + b"R"))
        return study

    def file(self, world, data):
        found = world.ledger.studies.instances(data.StudyInstanceUID)
        (instance,) = [i for i in found if i.sop_instance_uid == data.SOPInstanceUID]
        return world.store.file(instance).path

    def write(self, file, content):
        file.chmod(0o600)
        file.write_bytes(content)

    def test_the_study_is_held_back_and_that_is_told(self, world, rotten):
        world.sweep.once()
        world.pass_time(60)
        assert state_of(world, rotten)["state"] == "QUARANTINED"
        assert state_of(world, rotten)["reason"] == "ALTERED"
        (job,) = world.ledger.pages.study(rotten[0].StudyInstanceUID).jobs
        assert (job["state"], job["reason"]) == ("DECLINED", "ALTERED")

    def test_what_its_headers_say_is_not_counted(self, world, rotten):
        uid = rotten[0].StudyInstanceUID
        read = read_study(uid, world.ledger.studies.instances(uid), world.store, DirectReader())
        assert read.attributes["Altered"] == 1
        assert read.attributes["ModalitiesInStudy"] == ["CT"]
        assert [series.unreadable for series in read.series] == [1]

    def test_a_copy_that_is_sent_again_lets_it_go_on(self, world, rotten):
        world.sweep.once()
        world.pass_time(60)
        assert world.receive(rotten[0]) is Recording.DUPLICATE
        world.sweep.once()
        world.pass_time(70)
        assert state_of(world, rotten)["state"] == "ROUTED"

    def test_a_file_from_a_backup_lets_it_go_on_at_the_next_start(self, world, rotten):
        world.sweep.once()
        world.pass_time(60)
        for content, state in ((None, "QUARANTINED"), (self.content, "ROUTED")):
            if content:
                self.write(self.file(world, rotten[0]), content)
            world.restart()
            world.sweep.reopen()
            world.pass_time(70)
            assert state_of(world, rotten)["state"] == state
        actions = [e["action"] for e in world.ledger.pages.study(rotten[0].StudyInstanceUID).events]
        assert actions.count("study.quarantined") == 1, "it was not told twice"


def test_one_uid_with_two_contents_is_quarantined_and_both_are_kept(world, study):
    receive_all(world, study)
    study[0].SeriesDescription = "changed"
    world.receive(study[0])
    world.sweep.once()
    world.pass_time(60)
    assert state_of(world, study)["reason"] == "UID_CONFLICT"
    assert len(world.ledger.studies.instances(study[0].StudyInstanceUID)) == 4


def with_an_image_of(study):
    """Another study, of which one image has the SOP Instance UID of one of this."""
    other = make_study(phantom(2, slices=3, size=32))
    other[1].SOPInstanceUID = other[1].file_meta.MediaStorageSOPInstanceUID = study[
        1
    ].SOPInstanceUID
    return other


def test_one_uid_with_two_contents_in_two_studies_holds_both_back(world, study):
    receive_all(world, study)
    world.pass_time(70)
    assert state_of(world, study)["state"] == "ROUTED"
    other = with_an_image_of(study)
    receive_all(world, other)
    world.pass_time(70)
    for each in (study, other):
        row = state_of(world, each)
        assert (row["state"], row["reason"]) == ("QUARANTINED", "UID_CONFLICT")
        assert row["arrivals"] == len(each)


def test_a_conflict_that_comes_while_a_study_is_closed_is_not_overlooked(world, study, monkeypatch):
    late = iter(with_an_image_of(study)[1:2])

    def route_late(*asked):
        for data in late:
            assert world.receive(data) is Recording.CONFLICT
        return route(*asked)

    monkeypatch.setattr("dicom_node.sweep.route", route_late)
    receive_all(world, study)
    world.pass_time(70)
    assert next(late, None) is None
    assert state_of(world, study)["reason"] == "UID_CONFLICT"
    assert world.ledger.jobs.waiting() == []


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


class TestPauses:
    """They last as long as they are, by the sweep's own clock; the other may be set meanwhile."""

    @pytest.fixture
    def claim(self, world):
        studies = world.ledger.studies
        studies.record(Instance("1.2", "1.3", "1.4", "1.5", "1.6", "a" * 64, 1), "A")
        inputs = (SelectedSeries("1.3", (("1.4", "a" * 64),)),)
        proposal = Proposal("m", "1.0.0", "f" * 64, inputs, ())
        (job,) = studies.close(studies.receiving()[0], Study("1.2", ()), [proposal], "c" * 64)
        world.sweep.once()
        return world.ledger.jobs.claim(job)

    @pytest.fixture(params=[-600, 3600])
    def set_clock(self, request, monkeypatch):
        real = time.time
        return lambda: monkeypatch.setattr(time, "time", lambda: real() + request.param)

    @pytest.mark.parametrize("when", ["at once", "while it is watched"])
    def test_of_a_job(self, world, claim, set_clock, when):
        world.ledger.jobs.release(claim, "MEMORY", pause_s=50)
        if when == "while it is watched":
            world.sweep.once()
        set_clock()
        world.broker.jobs.clear()
        world.sweep.once()
        world.pass_time(40)
        assert (world.broker.jobs, world.ledger.jobs.claim(claim.id)) == ([], None)
        world.pass_time(10)
        assert world.broker.jobs == [claim.id]
        assert world.ledger.jobs.claim(claim.id)

    def test_of_a_delivery(self, world, claim, set_clock):
        stored = StoredResult("2.25.1", "1.2", "1.3", "AI", ResultKind.SEGMENTATION, 0, "d" * 64, 9)
        kinds = {"pacs": tuple(ResultKind)}
        world.ledger.jobs.complete(claim, [stored], kinds, summary={}, report_sha256="")
        shipment = world.ledger.deliveries.claim(claim.id, "pacs")
        world.ledger.deliveries.postpone(shipment, shipment.deliveries[0], "NO_ANSWER")
        set_clock()
        world.sweep.once()
        world.pass_time(20)
        assert world.broker.shipments == []
        assert world.ledger.deliveries.claim(claim.id, "pacs") is None
        world.pass_time(10)
        assert world.broker.shipments == [(claim.id, "pacs")]
        assert world.ledger.deliveries.claim(claim.id, "pacs")

    def test_that_was_put_off_anew_begins_anew(self, world, claim):
        world.ledger.jobs.release(claim, "MEMORY", pause_s=50)
        world.sweep.once()
        world.pass_time(50)
        world.ledger.jobs.release(world.ledger.jobs.claim(claim.id), "MEMORY", pause_s=50)
        world.sweep.once()
        world.pass_time(40)
        assert world.ledger.jobs.waiting() == []
        world.pass_time(10)
        assert world.ledger.jobs.waiting() == [claim.id]

    @pytest.mark.parametrize(("passed_s", "left_s"), [(80, 20), (3600, 0), (-600, 100)])
    def test_that_a_sweep_finds_when_it_starts(self, world, claim, monkeypatch, passed_s, left_s):
        """As the wall clock has it, and never longer than it was."""
        world.ledger.jobs.release(claim, "MEMORY", pause_s=100)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + passed_s)
        world.restart()
        world.sweep.once()
        world.pass_time(max(0, left_s - 10))
        assert bool(world.ledger.jobs.waiting()) == (left_s == 0)
        world.pass_time(10)
        assert world.ledger.jobs.waiting() == [claim.id]


def test_a_proof_is_rung_for_and_again_once_an_archive_has_been_silent_for_an_hour(tmp_path):
    world, outbox = World(tmp_path), Outbox(tmp_path)
    shipment = (outbox.job, PACS)
    world.sweep.once()
    assert world.broker.shipments == [shipment]
    outbox.ask()
    world.sweep.once()
    world.pass_time(3590, step=718)
    assert world.broker.shipments == [shipment]
    world.pass_time(40, step=20)
    assert world.broker.shipments == [shipment, shipment]
    assert outbox.told() == {("COMMITMENT_ASKED", "")}
    outbox.ask()
    assert outbox.told() == {("COMMITMENT_ASKED", "COMMITMENT_SILENT")}
    outbox.ledger.close()
    world.close()

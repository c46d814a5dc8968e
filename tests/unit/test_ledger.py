"""Every transition of the ledger is guarded: who lost a race writes nothing."""

import dataclasses
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, text

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.errors import ConfigurationError, LedgerBusy, LedgerConflict
from dicom_node.domain.job import MAX_ATTEMPTS, JobState, Proposal, SelectedSeries, SeriesChoice
from dicom_node.domain.review import Review, Verdict
from dicom_node.domain.study import Instance, Series, Study, StudyState
from dicom_node.ledger import Ledger, Recording
from dicom_node.ledger import database as database_module
from dicom_node.ledger.schema import REVISION

STUDY = "1.2.3"


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield opened
    opened.close()


def instance(number=1, sha="a", study=STUDY):
    return Instance(
        study,
        f"{study}.1",
        f"{study}.1.{number}",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.1.2.1",
        sha * 64,
        10,
    )


def contents(ledger, uid=STUDY):
    instances = tuple(ledger.studies.instances(uid))
    return Study(uid, (Series(f"{uid}.1", instances, {"Modality": "CT"}),), {"PatientID": "1"})


def proposal(ledger, uid=STUDY, wanted=True):
    pairs = tuple((i.sop_instance_uid, i.sha256) for i in ledger.studies.instances(uid))
    choice = SeriesChoice(f"{uid}.1", "chest", "CT", len(pairs), wanted, "fits")
    inputs = (SelectedSeries(f"{uid}.1", pairs),) if wanted else ()
    return Proposal("model", "1.0.0", "f" * 64, inputs, (choice,))


def close(ledger, wanted=True):
    (seen,) = ledger.studies.receiving()
    return ledger.studies.close(seen, contents(ledger), [proposal(ledger, wanted=wanted)], "c" * 64)


@pytest.fixture
def job_id(ledger):
    ledger.studies.record(instance(), "SENDER")
    (opened,) = close(ledger)
    return opened


def result(number, kind):
    return StoredResult(f"2.25.{number}", "1.2", "2.25.9", "AI", kind, number, "d" * 64, 100)


RESULTS = [result(1, ResultKind.SEGMENTATION), result(2, ResultKind.STRUCTURED_REPORT)]


def complete(ledger, claim, destinations=None):
    kinds = {"pacs": tuple(ResultKind)} if destinations is None else destinations
    ledger.jobs.complete(claim, RESULTS, kinds, summary={"line": "x"}, report_sha256="e" * 64)


class TestReceiving:
    def test_an_instance_is_new_once(self, ledger):
        assert ledger.studies.record(instance(), "A") is Recording.NEW
        assert ledger.studies.record(instance(), "B") is Recording.DUPLICATE
        assert ledger.studies.receiving()[0].arrivals == 1

    def test_the_same_uid_with_other_bytes_is_kept_and_named(self, ledger):
        ledger.studies.record(instance(sha="a"), "A")
        assert ledger.studies.record(instance(sha="b"), "A") is Recording.CONFLICT
        assert len(ledger.studies.instances(STUDY)) == 2

    def test_our_own_result_opens_no_study(self, ledger, job_id):
        complete(ledger, ledger.jobs.claim(job_id))
        returned = dataclasses.replace(instance(), sop_instance_uid="2.25.1")
        assert ledger.studies.record(returned, "PACS") is Recording.OWN_OUTPUT
        assert ledger.studies.receiving() == []

    def test_many_threads_lose_nothing(self, ledger):
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda n: ledger.studies.record(instance(n % 50), "A"), range(200))
            )
        assert answers.count(Recording.NEW) == 50
        assert answers.count(Recording.DUPLICATE) == 150
        assert ledger.studies.receiving()[0].arrivals == 50


class TestClosing:
    def test_it_opens_one_job_with_its_inputs_and_trace(self, ledger, job_id):
        job = ledger.jobs.get(job_id)
        assert job.inputs[0].instances == ((f"{STUDY}.1.1", "a" * 64),)
        assert job.selection[0].reason == "fits"
        assert (job.generation, job.state) == (1, JobState.READY)
        assert ledger.studies.receiving() == []

    def test_an_image_that_arrives_meanwhile_stops_it(self, ledger):
        ledger.studies.record(instance(1), "A")
        (seen,) = ledger.studies.receiving()
        ledger.studies.record(instance(2), "A")
        with pytest.raises(LedgerConflict):
            ledger.studies.close(seen, contents(ledger), [proposal(ledger)], "c" * 64)
        assert ledger.jobs.waiting() == []

    def test_of_two_sweeps_one_closes(self, ledger):
        ledger.studies.record(instance(), "A")
        (seen,) = ledger.studies.receiving()
        ledger.studies.close(seen, contents(ledger), [proposal(ledger)], "c" * 64)
        with pytest.raises(LedgerConflict):
            ledger.studies.close(seen, contents(ledger), [proposal(ledger)], "c" * 64)
        assert len(ledger.jobs.waiting()) == 1

    def test_a_late_image_makes_the_next_generation_and_cancels_the_waiting_job(
        self, ledger, job_id
    ):
        ledger.studies.record(instance(2), "A")
        (second,) = close(ledger)
        assert ledger.jobs.get(second).generation == 2
        assert ledger.jobs.get(job_id).state is JobState.CANCELLED
        assert ledger.jobs.get(job_id).reason == "SUPERSEDED"

    def test_a_late_image_takes_the_claim_from_a_running_job(self, ledger, job_id):
        claim = ledger.jobs.claim(job_id)
        ledger.studies.record(instance(2), "A")
        close(ledger)
        with pytest.raises(LedgerConflict):
            complete(ledger, claim)

    def test_a_late_image_that_changes_no_input_makes_no_job(self, ledger, job_id):
        same = proposal(ledger)
        report = dataclasses.replace(instance(9), series_instance_uid=f"{STUDY}.7")
        ledger.studies.record(report, "A")
        (seen,) = ledger.studies.receiving()
        assert ledger.studies.close(seen, contents(ledger), [same], "c" * 64) == []
        assert ledger.jobs.waiting() == [job_id]
        assert ledger.pages.study(STUDY).study["state"] == StudyState.ROUTED

    def test_a_late_image_for_one_model_leaves_the_other_model_s_job_alone(self, ledger):
        ledger.studies.record(instance(1), "A")
        other = dataclasses.replace(proposal(ledger), model_name="b", bundle_sha256="b" * 64)
        both = [proposal(ledger), other]
        (seen,) = ledger.studies.receiving()
        _, unchanged = ledger.studies.close(seen, contents(ledger), both, "c" * 64)
        ledger.studies.record(instance(2), "A")
        (seen,) = ledger.studies.receiving()
        both[0] = proposal(ledger)
        (opened,) = ledger.studies.close(seen, contents(ledger), both, "c" * 64)
        assert ledger.jobs.waiting() == [unchanged, opened]

    def test_a_study_that_no_model_wants_says_so(self, ledger):
        ledger.studies.record(instance(), "A")
        assert close(ledger, wanted=False) == []
        page = ledger.pages.study(STUDY)
        assert (page.study["state"], page.study["reason"]) == ("NO_MODEL", "NO_MODEL")
        assert page.selection[0]["reason"] == "fits"


class TestClaiming:
    def test_one_of_many_gets_the_job(self, ledger, job_id):
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda _: ledger.jobs.claim(job_id), range(16)))
        assert sum(c is not None for c in claims) == 1

    def test_a_lost_claim_can_write_nothing(self, ledger, job_id):
        first = ledger.jobs.claim(job_id)
        ledger.jobs.release(first, "LEASE_LOST")
        second = ledger.jobs.claim(job_id)
        for act in (
            lambda: complete(ledger, first),
            lambda: ledger.jobs.fail(first, "X"),
            lambda: ledger.jobs.quarantine(first, "X"),
            lambda: ledger.jobs.beat(first),
            lambda: ledger.jobs.release(first, "X"),
        ):
            with pytest.raises(LedgerConflict):
                act()
        complete(ledger, second)
        assert ledger.jobs.get(job_id).state is JobState.ANALYSED

    def test_the_third_loss_quarantines_and_a_person_may_try_once_more(self, ledger, job_id):
        for _ in range(MAX_ATTEMPTS):
            ledger.jobs.release(ledger.jobs.claim(job_id), "SIGSEGV")
        assert ledger.jobs.get(job_id).state is JobState.QUARANTINED
        assert ledger.jobs.claim(job_id) is None
        assert ledger.jobs.retry(job_id)
        ledger.jobs.release(ledger.jobs.claim(job_id), "SIGSEGV")
        assert ledger.jobs.get(job_id).state is JobState.QUARANTINED

    def test_what_no_try_can_help_is_quarantined_at_once_and_a_person_may_try_again(
        self, ledger, job_id
    ):
        ledger.jobs.quarantine(ledger.jobs.claim(job_id), "GEOMETRY")
        job = ledger.jobs.get(job_id)
        assert (job.state, job.attempt, job.reason) == (JobState.QUARANTINED, 1, "GEOMETRY")
        assert ledger.jobs.waiting() == []
        assert ledger.jobs.retry(job_id)
        assert ledger.jobs.claim(job_id)

    def test_a_pause_is_kept(self, ledger, job_id):
        ledger.jobs.release(ledger.jobs.claim(job_id), "MEMORY", pause_s=60)
        assert ledger.jobs.waiting() == []
        assert ledger.jobs.claim(job_id) is None

    def test_a_pause_ends_once_and_not_the_one_that_came_after(self, ledger, job_id):
        ledger.jobs.release(ledger.jobs.claim(job_id), "MEMORY", pause_s=60)
        (pause,) = ledger.pauses.begun()
        assert (pause.id, pause.length_s) == (job_id, pytest.approx(60))
        ledger.pauses.end([pause])
        assert (ledger.pauses.begun(), ledger.jobs.waiting()) == ([], [job_id])
        ledger.jobs.release(ledger.jobs.claim(job_id), "MEMORY", pause_s=60)
        ledger.pauses.end([pause])
        assert ledger.jobs.claim(job_id) is None

    def test_a_finished_job_cannot_be_retried(self, ledger, job_id):
        complete(ledger, ledger.jobs.claim(job_id))
        assert not ledger.jobs.retry(job_id)

    def test_a_later_job_is_told_what_its_model_said_before_and_no_other(self, ledger, job_id):
        first = ledger.jobs.get(job_id)
        complete(ledger, ledger.jobs.claim(job_id))
        ledger.studies.record(instance(2), "A")
        (second,) = close(ledger)
        job = ledger.jobs.get(second)
        assert ledger.answers.earlier_summaries(job) == [{"line": "x"}]
        assert ledger.answers.earlier_summaries(first) == []
        other = dataclasses.replace(job, model_name="another")
        assert ledger.answers.earlier_summaries(other) == []

    def test_completing_twice_leaves_one_set_of_results(self, ledger, job_id):
        claim = ledger.jobs.claim(job_id)
        barrier = threading.Barrier(2)

        def finish():
            barrier.wait()
            try:
                complete(ledger, claim)
            except LedgerConflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = [f.result() for f in [pool.submit(finish) for _ in range(2)]]
        assert sorted(done) == [False, True]
        assert len(ledger.pages.study(STUDY).results) == len(RESULTS)


class TestDelivering:
    @pytest.fixture
    def shipment(self, ledger, job_id):
        complete(ledger, ledger.jobs.claim(job_id))
        return ledger.deliveries.claim(job_id, "pacs")

    def test_it_is_claimed_whole_and_in_order(self, shipment):
        kinds = [d.result.kind for d in shipment.deliveries]
        assert kinds == [ResultKind.SEGMENTATION, ResultKind.STRUCTURED_REPORT]

    def test_nobody_else_gets_it(self, ledger, job_id, shipment):
        assert ledger.deliveries.claim(job_id, "pacs") is None

    def test_a_destination_gets_the_kinds_it_takes(self, ledger, job_id):
        complete(ledger, ledger.jobs.claim(job_id), {"text": (ResultKind.STRUCTURED_REPORT,)})
        shipment = ledger.deliveries.claim(job_id, "text")
        assert [d.result.kind for d in shipment.deliveries] == [ResultKind.STRUCTURED_REPORT]

    def test_what_waits_makes_the_rest_wait(self, ledger, job_id, shipment):
        ledger.deliveries.postpone(shipment, shipment.deliveries[0], "NO_ANSWER")
        ledger.deliveries.give_back(shipment.token)
        assert ledger.deliveries.claim(job_id, "pacs") is None

    def test_a_held_one_lets_the_rest_go_and_a_person_frees_it(self, ledger, job_id, shipment):
        ledger.deliveries.hold(shipment, shipment.deliveries[0], "NO_CONTEXT")
        ledger.deliveries.sent(shipment, shipment.deliveries[1])
        assert ledger.deliveries.waiting() == []
        assert ledger.deliveries.retry(shipment.deliveries[0].id)
        assert len(ledger.deliveries.claim(job_id, "pacs").deliveries) == 1

    def test_a_dead_claim_gives_everything_back(self, ledger, job_id, shipment):
        ledger.deliveries.give_back(shipment.token)
        again = ledger.deliveries.claim(job_id, "pacs")
        assert [d.attempt for d in again.deliveries] == [2, 2]
        with pytest.raises(LedgerConflict):
            ledger.deliveries.sent(shipment, shipment.deliveries[0])

    def test_what_was_put_off_goes_once_its_pause_has_ended(self, ledger, job_id, shipment):
        for item in shipment.deliveries:
            ledger.deliveries.postpone(shipment, item, "NO_ANSWER")
        assert ledger.deliveries.claim(job_id, "pacs") is None
        ledger.pauses.end(ledger.pauses.begun())
        assert len(ledger.deliveries.claim(job_id, "pacs").deliveries) == 2
        assert ledger.pauses.begun() == []


def test_a_review_is_kept_beside_the_others(ledger, job_id):
    for verdict in (Verdict.AGREE, Verdict.DISAGREE):
        ledger.pages.review(Review(job_id, "Dr. A", verdict, "seen", datetime.now(UTC)))
    assert [r["verdict"] for r in ledger.pages.study(STUDY).reviews] == ["AGREE", "DISAGREE"]


def test_sqlite_is_synced_at_every_commit(ledger):
    with ledger.database.read() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_newer_schema_is_refused(ledger):
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="schema 9999"):
        Ledger.open(ledger.database.url)


def test_the_migrations_make_the_schema_that_the_code_uses(ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from dicom_node.ledger.schema import metadata

    with ledger.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_the_sweep_asks_each_second_reads_no_job_that_is_over(ledger):
    asked = []
    event.listen(
        ledger.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    ledger.answers.waiting([JobState.DECLINED])
    ledger.rejections.waiting()
    selects = [each for each in asked if each[0].startswith("SELECT")]
    with ledger.database.read() as connection:
        plans = [
            " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {s}", v))
            for s, v in selects
        ]
    assert "ix_job_unanswered" in plans[0]
    assert "ix_job_rejected" in plans[1]
    assert "ix_delivery_state" not in plans[1]


def test_roles_that_start_together_migrate_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: Ledger.open(url), range(6)))
    assert {ledger.database.revision() for ledger in opened} == {REVISION}


def test_a_locked_ledger_says_that_it_is_busy(ledger, monkeypatch):
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 100)
    other = Ledger.open(ledger.database.url)
    with ledger.database.write(), pytest.raises(LedgerBusy):
        other.studies.record(instance(), "A")


def test_nobody_else_on_the_machine_can_read_the_ledger(tmp_path):
    """Not one that an older version left readable, either."""
    file = tmp_path / "data" / "ledger.sqlite3"
    for _ in range(2):
        Ledger.open(f"sqlite:///{file}").close()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        file.chmod(0o644)


def test_a_damaged_ledger_is_said_to_be_damaged(tmp_path):
    (tmp_path / "ledger.sqlite3").write_bytes(b"\1" * 8192)
    with pytest.raises(LedgerBusy, match="damaged: stop the node, restore") as busy:
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    assert busy.value.code == "STORAGE_IO"


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("ledger", "no database URL"),
        ("sqlite:////proc/none/ledger.sqlite3", "check data_dir"),
        ("mongodb://host/ledger", "use sqlite or postgresql"),
        ("mysql://host/ledger", "use sqlite or postgresql"),
        ("postgresql+pg8000://user:hunter2@host/ledger", "pip install pg8000"),
    ],
)
def test_a_ledger_that_cannot_be_reached_is_a_matter_of_settings(url, advice):
    with pytest.raises(ConfigurationError, match=advice) as wrong:
        Ledger.open(url)
    assert "hunter2" not in str(wrong.value)


def test_the_driver_of_postgresql_is_an_extra_that_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for scheme in ("postgresql", "postgresql+psycopg"):
        with pytest.raises(ConfigurationError, match=r"pip install 'dicom-node\[postgresql\]'"):
            Ledger.open(f"{scheme}://user@host/ledger")


def test_a_role_that_died_lives_no_longer_because_the_clock_was_set_back(ledger, monkeypatch):
    ledger.roles.beat("listen", "host", 0.0)
    (seen,) = ledger.roles.seen()
    assert seen.lives
    monkeypatch.setattr("dicom_node.ledger.roles.time.time", lambda: seen.seen_at - 3600)
    assert not seen.lives


def test_a_container_that_was_replaced_is_no_alarm_for_ever(ledger, monkeypatch):
    now, clock = time.time(), "dicom_node.ledger.roles.time.time"
    for at, name, host in [(-2, "listen", "a1"), (-2, "sweep", "a1"), (-0.5, "listen", "b2")]:
        monkeypatch.setattr(clock, lambda at=at: now + at * 86_400)
        ledger.roles.beat(name, host, 0.0)
    monkeypatch.setattr(clock, lambda: now)
    ledger.roles.beat("listen", "c3", 0.0)
    assert [(r.name, r.host) for r in ledger.roles.seen()] == [
        ("listen", "b2"),
        ("listen", "c3"),
        ("sweep", "a1"),
    ]

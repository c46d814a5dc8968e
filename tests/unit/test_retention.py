"""What a site does not keep any longer goes, with an audit trail; what is to come of it stays."""

import time

import pytest
from log_lines import log_lines
from sqlalchemy import select, update
from typer.testing import CliRunner
from ward import CT, MODEL, NEGATIVE, POSITIVE, Visitor, every_state

from dicom_node.cli import app
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import TRANSITIONS, JobState
from dicom_node.domain.study import Instance
from dicom_node.ledger import Recording, removals
from dicom_node.ledger.schema import delivery, instance, job, removal, result, review, study
from dicom_node.removing import ADVICE
from dicom_node.retention import DAY_S, LOOK_S, MOST_DRIFT_S, SETTLING_S, Calendar, Retention
from dicom_node.settings.node import Settings
from dicom_node.settings.work import Sweep

ANSWERED = Settings().results.answered
KEEP_S = 30 * DAY_S


@pytest.fixture
def after(monkeypatch):
    """Days that have passed since the rows were written, as the ledger sees it."""

    def pass_days(days):
        monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + days * DAY_S)

    return pass_days


def sent(ward, name="Positive^Petra"):
    uid = ward.receive(name)
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, POSITIVE)
    ward.send(job_id, "pacs", "", "", "", "")
    return uid, job_id


def due(ward):
    return ward.ledger.removals.due(KEEP_S, ANSWERED, at_most=100)


def rows(ward, table, *where):
    with ward.ledger.database.read() as connection:
        return connection.execute(select(table).where(*where)).mappings().all()


def change(ward, table, *where, **values):
    with ward.ledger.database.write() as connection:
        connection.execute(update(table).where(*where).values(**values))


class TestWhatIsDue:
    def test_settled_studies_once_their_time_is_over(self, ward, after):
        uids = every_state(ward)
        change(ward, job, job.c.state.in_(ANSWERED), answered=job.c.reason)
        after(29.9)
        assert due(ward) == []
        after(30.1)
        assert set(due(ward)) == {uids[name] for name in ("sent", "negative", "no model")}
        after(60.1)
        troubled = ("failed", "unusable images", "quarantined job", "quarantined study")
        assert set(due(ward)) == {uids[n] for n in ("sent", "negative", "no model", *troubled)}

    def test_not_before_a_failure_was_told_where_the_site_tells_it(self, ward, after):
        uid = ward.receive("Unread^Uma")
        ward.close(uid, decline=True)
        after(31)
        assert due(ward) == []
        assert ward.ledger.removals.due(KEEP_S, ()) == [uid]

    def test_not_before_a_rejection_was_told(self, ward, after):
        uid, job_id = sent(ward)
        change(ward, job, job.c.id == job_id, rejected=True)
        after(31)
        assert due(ward) == []
        assert uid not in due(ward)

    def test_a_reader_s_word_keeps_it_for_longer(self, ward, after):
        _, job_id = sent(ward)
        after(20)
        said = {"reader": "R", "verdict": "AGREE", "comment": "", "at": time.time()}
        with ward.ledger.database.write() as connection:
            connection.execute(review.insert().values(job_id=job_id, **said))
        after(31)
        assert due(ward) == []
        after(51)
        assert len(due(ward)) == 1

    @pytest.mark.parametrize("state", ["READY", "SENDING", "HELD", "COMMITMENT_ASKED", "NEW"])
    def test_a_delivery_in_any_state_that_is_not_settled_keeps_it(self, ward, after, state):
        _, job_id = sent(ward)
        (first, *_) = rows(ward, delivery, delivery.c.job_id == job_id)
        change(ward, delivery, delivery.c.id == first["id"], state=state)
        after(1000)
        assert due(ward) == []

    @pytest.mark.parametrize(("proof", "is_due"), [("COMMITMENT", False), ("", True)])
    def test_what_is_still_to_be_proven_keeps_it(self, ward, after, proof, is_due):
        _, job_id = sent(ward)
        change(ward, delivery, delivery.c.job_id == job_id, proof=proof)
        after(31)
        assert bool(due(ward)) is is_due

    def test_what_is_confirmed_does_not(self, ward, after):
        _, job_id = sent(ward)
        of_job = delivery.c.job_id == job_id
        change(ward, delivery, of_job, state="CONFIRMED", proof="")
        after(31)
        assert len(due(ward)) == 1


class TestRemoving:
    @pytest.fixture
    def removed(self, ward, after):
        uid, job_id = sent(ward)
        with ward.ledger.database.write() as connection:
            said = {"reader": "R", "verdict": "AGREE", "comment": "Positive^Petra", "at": 0}
            connection.execute(review.insert().values(job_id=job_id, **said))
        after(31)
        ward.ledger.removals.expire(uid, KEEP_S, ANSWERED)
        return uid, job_id

    def test_nothing_that_is_left_names_the_patient(self, ward, removed):
        with ward.ledger.database.read() as connection:
            left = [
                str(dict(row))
                for table in removal.metadata.sorted_tables
                for row in connection.execute(select(table)).mappings()
            ]
        for text in ("Petra", "P-0001", "A-0001", "CT abdomen", "Portal venous", "20260131"):
            assert not [row for row in left if text in row]

    def test_nor_do_the_bytes_of_the_file(self, ward, removed, tmp_path):
        """SQLite leaves what is deleted where it was, unless it is told otherwise."""
        with ward.ledger.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        assert b"Petra" not in (tmp_path / "ledger.sqlite3").read_bytes()

    def test_it_leaves_an_audit_trail(self, ward, removed):
        uid, _ = removed
        (row,) = rows(ward, removal)
        told = {name: row[name] for name in ("study_instance_uid", "reason", "instances")}
        assert told == {"study_instance_uid": uid, "reason": "RETENTION", "instances": 3}
        assert (row["results"], row["size_bytes"]) == (4, 3 * 524_288 + 40_000 * 10)
        events = ward.ledger.pages.study(uid).events
        assert (events[-1]["action"], events[-1]["reason"]) == ("study.removed", "RETENTION")
        assert events[0]["action"] == "study.closed", "its history stays"

    def test_its_bytes_are_to_be_erased(self, ward, removed):
        assert len(ward.ledger.erasures.files()) == 3 + 4 + 1
        assert list(ward.ledger.inventory.files()) == []

    def test_it_is_gone_from_the_worklist_and_its_page_says_when(self, ward, removed):
        uid, job_id = removed
        visitor = Visitor(ward)
        assert "Petra" not in visitor.get("/").text
        page = visitor.get(f"/studies/{uid}")
        assert page.status_code == 200
        assert "Removed" in page.text
        assert "3 images and 4 results were deleted" in page.text
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/report"):
            assert visitor.get(path).status_code == 404

    def test_nobody_can_order_it_again(self, ward, removed):
        _, job_id = removed
        assert not ward.ledger.jobs.retry(job_id)
        assert ward.ledger.jobs.claim(job_id) is None
        assert ward.ledger.answers.waiting(ANSWERED) == []
        assert ward.ledger.rejections.waiting() == []
        assert ward.ledger.deliveries.waiting() == []

    def test_a_second_time_there_is_nothing_to_remove(self, ward, removed):
        uid, _ = removed
        with pytest.raises(LedgerConflict):
            ward.ledger.removals.expire(uid, KEEP_S, ANSWERED)
        assert len(rows(ward, removal)) == 1

    def test_a_result_that_comes_back_is_known(self, ward, removed):
        (first, *_) = rows(ward, result)
        back = an_instance(removed[0], first["sop_instance_uid"])
        assert ward.ledger.studies.record(back, "PACS") is Recording.OWN_OUTPUT

    def test_a_late_image_starts_it_anew(self, ward, removed):
        uid, old = removed
        ward.add_images(uid, 3)
        (seen,) = ward.ledger.studies.receiving()
        assert (seen.arrivals, seen.generation) == (3, 1)
        assert "study.anew" in [row["action"] for row in ward.ledger.pages.study(uid).events]
        (job_id,) = ward.close(uid, MODEL)
        page = ward.ledger.pages.study(uid)
        assert [(row["id"], row["generation"]) for row in page.jobs] == [(job_id, 2)]
        ward.complete(job_id, NEGATIVE)
        before = {row["superseded_by"] for row in rows(ward, result, result.c.job_id == old)}
        assert before == {job_id}, "the new report names the one that was sent before"
        assert Visitor(ward).get(f"/studies/{uid}").status_code == 200

    def test_it_can_be_removed_again(self, ward, removed, after):
        uid, _ = removed
        ward.add_images(uid, 2)
        ward.close(uid)
        after(70)
        assert due(ward) == [uid]
        assert ward.ledger.removals.expire(uid, KEEP_S, ANSWERED).instances == 2
        assert len(ward.ledger.pages.study(uid).removals) == 2


def an_instance(uid, sop):
    return Instance(uid, f"{uid}.1", sop, CT, "1.2.840.10008.1.2.1", "f" * 64, 10)


def test_what_happens_meanwhile_keeps_it(ward, after):
    uid, _ = sent(ward)
    after(31)
    assert due(ward) == [uid]
    ward.add_images(uid, 1, first=90)
    with pytest.raises(LedgerConflict):
        ward.ledger.removals.expire(uid, KEEP_S, ANSWERED)
    assert len(rows(ward, instance)) == 4


REFUSED = {
    "receiving": "RECEIVING",
    "analysing": "ANALYSING",
    "waiting": "JOB_WAITS",
    "failed": "NOT_TOLD",
    "held": "NOT_SENT",
    "postponed": "NOT_SENT",
}


class TestByHand:
    def order(self, ward, uid, **options):
        return ward.ledger.removals.order(uid, ANSWERED, **options)

    def test_a_settled_study_goes_at_once(self, ward):
        uid, _ = sent(ward)
        assert self.order(ward, uid).instances == 3
        assert ward.ledger.pages.study(uid).study["reason"] == "ON_DEMAND"

    def test_one_that_is_not_settled_is_refused(self, ward):
        uids = every_state(ward)
        for state, code in REFUSED.items():
            with pytest.raises(LedgerConflict) as refused:
                self.order(ward, uids[state])
            assert refused.value.code == code
            if code in removals.OVERRULED:
                self.order(ward, uids[state], even_if_unsent=True)
                assert ward.ledger.pages.study(uids[state]).jobs == ()
            else:
                with pytest.raises(LedgerConflict):
                    self.order(ward, uids[state], even_if_unsent=True)
        assert removals.OVERRULED - {"NOT_PROVEN"} <= set(REFUSED.values())
        states = {row["state"] for row in rows(ward, delivery)}
        assert states <= {"SENT", "WITHDRAWN", "READY"}

    def test_a_proof_that_was_asked_for_is_not_waited_for_any_more(self, ward):
        uid, job_id = sent(ward)
        of_job = delivery.c.job_id == job_id
        change(ward, delivery, of_job, state="COMMITMENT_ASKED", transaction_uid="2.25.7")
        with pytest.raises(LedgerConflict) as refused:
            self.order(ward, uid)
        assert refused.value.code == "NOT_PROVEN"
        self.order(ward, uid, even_if_unsent=True)
        told = {(r["state"], r["proof"], r["transaction_uid"]) for r in rows(ward, delivery)}
        assert told == {("SENT", "", "")}

    def test_one_that_is_not_there(self, ward):
        with pytest.raises(LedgerConflict) as refused:
            self.order(ward, "1.2.3.99")
        assert refused.value.code == "STUDY_UNKNOWN"


class Clock:
    def __init__(self):
        self.now = self.wall = 1000.0

    def pass_s(self, seconds, wall=None):
        self.now += seconds
        self.wall += seconds if wall is None else wall

    def calendar(self):
        return Calendar(lambda: self.now, lambda: self.wall)


class TestTheClock:
    def test_an_hour_passes_first(self):
        clock = Clock()
        calendar = clock.calendar()
        assert not calendar.is_settled
        clock.pass_s(SETTLING_S)
        assert calendar.is_settled

    def test_set_in_the_first_hour_it_is_believed_an_hour_later(self):
        clock = Clock()
        calendar = clock.calendar()
        clock.pass_s(60, wall=1e9)
        assert not calendar.is_settled
        clock.pass_s(SETTLING_S)
        assert calendar.is_settled

    def test_after_a_jump_ahead_nothing_is_removed_any_more(self):
        clock = Clock()
        calendar = clock.calendar()
        clock.pass_s(SETTLING_S)
        assert calendar.is_settled
        clock.pass_s(10, wall=10 + 2 * MOST_DRIFT_S)
        for _ in range(3):
            assert not calendar.is_settled
            clock.pass_s(2 * SETTLING_S)
        assert calendar.has_jumped

    def test_set_back_it_is_believed_an_hour_later(self):
        clock = Clock()
        calendar = clock.calendar()
        clock.pass_s(SETTLING_S)
        clock.pass_s(10, wall=-1e6)
        assert not calendar.is_settled
        clock.pass_s(SETTLING_S)
        assert calendar.is_settled


class TestTheSweep:
    def retention(self, ward, clock, keep_days):
        settings = Settings(sweep=Sweep(keep_days=keep_days))
        return Retention(settings, ward.ledger, lambda: clock.now, lambda: clock.wall)

    def test_everything_is_kept_unless_the_site_says_so(self, ward, after):
        sent(ward)
        clock = Clock()
        retention = self.retention(ward, clock, 0)
        clock.pass_s(SETTLING_S)
        after(10_000)
        retention.once()
        assert rows(ward, removal) == []

    def test_one_study_a_pass_and_a_look_a_minute(self, ward, after):
        for name in ("A^A", "B^B"):
            sent(ward, name)
        clock = Clock()
        retention = self.retention(ward, clock, 30)
        after(31)
        retention.once()
        assert rows(ward, removal) == [], "the clock may still be set"
        clock.pass_s(SETTLING_S)
        for count in (1, 2, 2):
            retention.once()
            assert len(rows(ward, removal)) == count
        uid, _ = sent(ward, "C^C")
        after(62)
        retention.once()
        assert len(rows(ward, removal)) == 2
        clock.pass_s(LOOK_S)
        retention.once()
        assert [row["state"] for row in rows(ward, study, study.c.study_instance_uid == uid)] == [
            "REMOVED"
        ]

    def test_a_clock_that_jumped_is_told_once(self, ward, after):
        sent(ward)
        clock = Clock()
        retention = self.retention(ward, clock, 30)
        clock.pass_s(SETTLING_S)
        after(31)
        clock.pass_s(1, wall=31 * DAY_S)
        with log_lines() as lines:
            for _ in range(3):
                retention.once()
        assert [line["reason"] for line in lines] == ["CLOCK_JUMP"]
        assert rows(ward, removal) == []


def test_every_state_that_can_be_removed_says_so():
    stays = {state for state, to in TRANSITIONS.items() if JobState.REMOVED not in to}
    assert stays == {JobState.ANALYSING, JobState.REMOVED}


class TestTheCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["remove", *arguments], env={"COLUMNS": "200"})

    def test_it_says_what_was_removed_or_why_nothing_was(self, ward, tmp_path, monkeypatch):
        monkeypatch.setenv("DICOM_NODE__DATA_DIR", str(tmp_path))
        done, _ = sent(ward)
        waiting = ward.receive("Waiting^Walter")
        ward.close(waiting, MODEL)
        first, again, refused = self.run(done), self.run(done), self.run(waiting)
        assert (first.exit_code, first.stdout) == (0, "removed: 3 images, 4 results\n")
        for said, code in ((again, "STUDY_UNKNOWN"), (refused, "JOB_WAITS")):
            assert f"not removed ({code}): {ADVICE[code]}" in str(said.exception)
        assert self.run(waiting, "--even-if-unsent").exit_code == 0

    def test_every_refusal_has_an_advice(self):
        assert set(ADVICE) == {"STUDY_UNKNOWN", *removals._obstacles(())}

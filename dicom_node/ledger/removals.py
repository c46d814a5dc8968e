"""Removals: what the site does not keep any longer, taken from the ledger in one transaction.

A study that is removed keeps its UID, its number of closings, its history and, of its results, the
UIDs, classes and where they went: so an image that comes late starts it anew, no UID is ever given
to two results, a result that comes back is known as ours, and a new report names the one before.
Nothing that is kept names a patient. What lies in the store becomes an erasure (``erasures``).
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from dicom_node.domain.delivery import ARRIVED, SETTLED, DeliveryState, Proof, ResultKind
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import JobState
from dicom_node.domain.study import StudyState
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import (
    delivery,
    erasure,
    event,
    expectation,
    instance,
    job,
    removal,
    result,
    review,
    selection,
    series,
    study,
)

EXPIRED, ORDERED = REASONS = "RETENTION", "ON_DEMAND"
"""Of a removal; a study has one of them until an image of it comes again."""
TROUBLED = (JobState.FAILED, JobState.QUARANTINED)
PATIENCE = 2
"""A study that a person should look at is kept for so many times as long as others."""
OVERRULED = frozenset({"JOB_WAITS", "NOT_TOLD", "NOT_SENT", "NOT_PROVEN"})
"""What a person may overrule: nobody is at work on it."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away."""

    study_instance_uid: str
    instances: int
    results: int
    size_bytes: int


class Removals:
    """Removes studies of which nothing is to come any more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, keep_s: float, answered: Collection[JobState], at_most: int = 1) -> list[str]:
        """UIDs of studies that are settled and saw nothing for ``keep_s``, oldest first.

        ``answered``: states of jobs whose reason is told in place of a result.
        """
        query = (
            select(study.c.study_instance_uid)
            .where(_is_over(time.time(), keep_s, answered))
            .order_by(study.c.last_received_at)
        )
        with self._database.read() as connection:
            return list(connection.scalars(query.limit(at_most)))

    def expire(self, uid: str, keep_s: float, answered: Collection[JobState]) -> Removed:
        """Remove a study that is due; ``LedgerConflict`` where it is not any more."""
        with self._database.write() as connection:
            _lock(connection, uid)
            over = study.c.study_instance_uid == uid, _is_over(time.time(), keep_s, answered)
            if connection.scalar(select(study.c.study_instance_uid).where(*over)) is None:
                raise LedgerConflict(f"study {uid} has moved on")
            return _remove(connection, uid, EXPIRED)

    def order(
        self, uid: str, answered: Collection[JobState], *, even_if_unsent: bool = False
    ) -> Removed:
        """Remove a study at a person's word, however old it is.

        Raises ``LedgerConflict``, whose code says what is still to come of it, or STUDY_UNKNOWN.
        """
        with self._database.write() as connection:
            _lock(connection, uid)
            found = select(study.c.state).where(study.c.study_instance_uid == uid)
            if connection.scalar(found) in (None, StudyState.REMOVED):
                raise LedgerConflict(f"there is no study {uid}", code="STUDY_UNKNOWN")
            overruled = OVERRULED if even_if_unsent else frozenset()
            for code, obstacle in _obstacles(answered).items():
                if code not in overruled and connection.scalar(found.where(obstacle)) is not None:
                    raise LedgerConflict(f"study {uid} is not settled ({code})", code=code)
            return _remove(connection, uid, ORDERED)


def begin_anew(connection: Connection, uid: str, count: int, now: float) -> None:
    """A study has just received ``count`` images; if it was removed before, it starts again."""
    change = (
        update(study)
        .where(study.c.study_instance_uid == uid, study.c.reason.in_(REASONS))
        .values(reason="", arrivals=count, first_received_at=now)
    )
    if connection.execute(change).rowcount:
        events.write(connection, uid, "study.anew")


def _obstacles(answered: Collection[JobState]) -> Mapping[str, ColumnElement[bool]]:
    """Why a study is not settled, by reason code."""
    sent = exists().where(delivery.c.job_id == job.c.id, delivery.c.state.in_(ARRIVED))
    note = exists().where(result.c.job_id == job.c.id, result.c.kind == ResultKind.REJECTION_NOTE)
    untold = and_(job.c.state.in_(answered), job.c.answered != job.c.reason)
    return {
        "RECEIVING": study.c.state == StudyState.RECEIVING,
        "ANALYSING": _with_job(job.c.state == JobState.ANALYSING),
        "SENDING": _with_delivery(delivery.c.state == DeliveryState.SENDING),
        "JOB_WAITS": _with_job(job.c.state == JobState.READY),
        "NOT_TOLD": _with_job(or_(untold, and_(job.c.rejected, sent, ~note))),
        "NOT_SENT": _with_delivery(delivery.c.state.not_in((*SETTLED, *ARRIVED))),
        "NOT_PROVEN": _with_delivery(_to_be_proven()),
    }


def _to_be_proven() -> ColumnElement[bool]:
    wanted = and_(delivery.c.state == DeliveryState.SENT, delivery.c.proof != Proof.NONE)
    return or_(delivery.c.state == DeliveryState.COMMITMENT_ASKED, wanted)


def _is_over(now: float, keep_s: float, answered: Collection[JobState]) -> ColumnElement[bool]:
    troubled = or_(study.c.state == StudyState.QUARANTINED, _with_job(job.c.state.in_(TROUBLED)))
    return and_(
        study.c.state != StudyState.REMOVED,
        *(~obstacle for obstacle in _obstacles(answered).values()),
        *_idle_since(now - keep_s),
        or_(~troubled, and_(*_idle_since(now - PATIENCE * keep_s))),
    )


def _idle_since(when: float) -> tuple[ColumnElement[bool], ...]:
    """No image came, nothing happened (each transition writes an event), no reader spoke."""
    happened = exists().where(
        event.c.study_instance_uid == study.c.study_instance_uid, event.c.at > when
    )
    said = exists().where(review.c.job_id == job.c.id, review.c.at > when)
    return study.c.last_received_at <= when, ~happened, ~_with_job(said)


def _with_job(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(job.c.study_instance_uid == study.c.study_instance_uid, condition)


def _with_delivery(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return _with_job(exists().where(delivery.c.job_id == job.c.id, condition))


def _jobs_of(uid: str) -> Select[tuple[str]]:
    return select(job.c.id).where(job.c.study_instance_uid == uid)


def _lock(connection: Connection, uid: str) -> None:
    """Nobody changes them until the transaction ends (SQLite: nobody changes anything)."""
    of_study = select(study.c.state).where(study.c.study_instance_uid == uid)
    of_jobs = select(delivery.c.id).where(delivery.c.job_id.in_(_jobs_of(uid)))
    for query in (of_study, _jobs_of(uid), of_jobs):
        connection.execute(query.with_for_update()).all()


def _remove(connection: Connection, uid: str, reason: str) -> Removed:
    removed = _count(connection, uid)
    _leave_bytes(connection, uid)
    _strip_jobs(connection, uid)
    of_jobs = review.c.job_id.in_(_jobs_of(uid))
    connection.execute(delete(review).where(of_jobs))
    for table in (instance, series, selection, expectation):
        connection.execute(delete(table).where(table.c.study_instance_uid == uid))
    values = {"state": StudyState.REMOVED, "reason": reason, "attributes": {}}
    connection.execute(update(study).where(study.c.study_instance_uid == uid).values(values))
    audit = {
        "at": time.time(),
        "study_instance_uid": uid,
        "reason": reason,
        "instances": removed.instances,
        "results": removed.results,
        "size_bytes": removed.size_bytes,
    }
    connection.execute(insert(removal).values(audit))
    events.write(connection, uid, "study.removed", reason=reason)
    return removed


def _count(connection: Connection, uid: str) -> Removed:
    of_instances = select(func.count(), func.coalesce(func.sum(instance.c.size_bytes), 0))
    of_results = select(func.count(), func.coalesce(func.sum(result.c.size_bytes), 0))
    of_study = of_instances.where(instance.c.study_instance_uid == uid)
    made = of_results.where(result.c.job_id.in_(_jobs_of(uid)), result.c.sha256 != "")
    instances, received_bytes = connection.execute(of_study).one()
    results, made_bytes = connection.execute(made).one()
    return Removed(uid, instances, results, received_bytes + made_bytes)


def _leave_bytes(connection: Connection, uid: str) -> None:
    """The places of all that the study has in the store become erasures."""
    alone = literal(""), literal(0), literal(0)
    where = instance.c.pack, instance.c.pack_offset, instance.c.size_bytes, instance.c.sha256
    received = select(*where, false()).where(instance.c.study_instance_uid == uid)
    made = select(*alone, result.c.sha256, false()).where(result.c.job_id.in_(_jobs_of(uid)))
    reports = select(*alone, job.c.report_sha256, false()).where(job.c.study_instance_uid == uid)
    columns = ["pack", "pack_offset", "size_bytes", "sha256", "done"]
    for query in (
        received,
        made.where(result.c.sha256 != ""),
        reports.where(job.c.report_sha256 != ""),
    ):
        connection.execute(insert(erasure).from_select(columns, query))


def _strip_jobs(connection: Connection, uid: str) -> None:
    stripped: dict[str, Any] = {"inputs": [], "input_sha256": "", "summary": {}}
    stripped |= {"report_sha256": "", "token": "", "rejected": False}
    of_study = job.c.study_instance_uid == uid
    change = update(job).where(of_study).values(state=JobState.REMOVED, **stripped)
    connection.execute(change)
    of_jobs = _jobs_of(uid)
    connection.execute(
        update(result).where(result.c.job_id.in_(of_jobs)).values(sha256="", size_bytes=0)
    )
    of_study = delivery.c.job_id.in_(of_jobs)
    asked = {"state": DeliveryState.SENT, "proof": Proof.NONE, "transaction_uid": ""}
    connection.execute(update(delivery).where(of_study, _to_be_proven()).values(asked))
    withdrawn = {"state": DeliveryState.WITHDRAWN, "reason": "REMOVED"}
    unsettled = delivery.c.state.not_in(SETTLED)
    connection.execute(update(delivery).where(of_study, unsettled).values(withdrawn))

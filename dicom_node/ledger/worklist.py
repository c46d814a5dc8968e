"""The worklist: studies newest first, one page at a time, with what became of each."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select

from dicom_node.domain.delivery import ARRIVED, NEVER_SENT, UNPROVEN, DeliveryState, Proof
from dicom_node.domain.job import NODE, JobState
from dicom_node.domain.study import StudyState
from dicom_node.ledger.schema import delivery, job, study

Row = Mapping[str, Any]

SEARCHED = ("PatientName", "PatientID", "AccessionNumber")
MAX_WORDS = 8
NOT_STORED = str.maketrans(dict.fromkeys(",()", " "))
"""What the pages put between the parts of a name: a name copied from one is to be found."""
SHOWN_OF_JOB = tuple(c for c in job.c if c.name not in ("inputs", "token", "beat"))
"""``inputs`` names every image of a job: too much for a page, and nobody reads it there."""


class Stage(StrEnum):
    """What a person wants to know of a study first; every study has exactly one."""

    PROGRESS = "progress"
    """Images arrive, a model still has to answer, or a result still has to be sent."""
    RESULT = "result"
    """Every model that was asked has answered, and every destination has what it is to get."""
    ATTENTION = "attention"
    """Something failed or is held: a person must look."""
    NO_RESULT = "no-result"
    """Nothing was analysed, and nothing will be."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one study's objects are on their way to one destination."""

    destination: str
    total: int
    sent: int
    confirmed: int
    """Of those sent."""
    unproven: int
    """Of those sent: the destination offers no proof."""
    asked: int
    """Of those sent: a proof is still asked for."""
    held: int
    postponed: int
    """Tried, and waiting for the next try."""
    reason: str
    """Of one that is held, else of one that is postponed."""


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """One study of the worklist."""

    study: Row
    jobs: tuple[Row, ...]
    """Of all generations, newest first; without ``inputs``."""
    deliveries: tuple[Progress, ...]

    @property
    def images(self) -> int:
        """Instances received."""
        return int(self.study["arrivals"])


@dataclass(frozen=True, slots=True)
class Worklist:
    """One page of the studies that were asked for."""

    entries: tuple[WorklistEntry, ...]
    counts: Mapping[Stage, int]
    """Studies that match the search, by stage."""
    stage: Stage | None
    page: int
    """From 1; the last one where a later one was asked for."""
    pages: int

    def __iter__(self) -> Iterator[WorklistEntry]:
        return iter(self.entries)

    @property
    def total(self) -> int:
        """Studies that match the search and the stage."""
        return self.counts.get(self.stage, 0) if self.stage else sum(self.counts.values())


def read_worklist(
    connection: Connection, stage: Stage | None, search: str, page: int, size: int
) -> Worklist:
    """The studies of a stage whose patient, accession number or UID has each word of ``search``."""
    counts = _counts(connection, search)
    total = counts.get(stage, 0) if stage else sum(counts.values())
    pages = max(1, math.ceil(total / size))
    page = min(max(page, 1), pages)
    query = _matching(select(study), search)
    if stage:
        query = query.where(_stage() == stage)
    newest = query.order_by(study.c.last_received_at.desc(), study.c.study_instance_uid)
    studies = _rows(connection, newest.limit(size).offset((page - 1) * size))
    return Worklist(_entries(connection, studies), counts, stage, page, pages)


def current_jobs(jobs: Iterable[Row]) -> tuple[Row, ...]:
    """Of each model the job of its latest generation: the one that counts.

    That no model was to read the study counts until one does.
    """
    latest: dict[str, Row] = {}
    for row in sorted(jobs, key=lambda row: int(row["generation"])):
        latest.pop(NODE, None)
        latest[row["model_name"]] = row
    return tuple(latest[name] for name in sorted(latest))


def _counts(connection: Connection, search: str) -> dict[Stage, int]:
    stages = _matching(select(_stage().label("stage")), search).subquery()
    query = select(stages.c.stage, func.count()).group_by(stages.c.stage)
    return {Stage(name): count for name, count in connection.execute(query)}


def _stage() -> ColumnElement[str]:
    """Asks for rare states by their index, so that it stays fast beside thousands of results."""
    uid, state = study.c.study_instance_uid, study.c.state
    needs_help = or_(
        state == StudyState.QUARANTINED,
        uid.in_(_with_job(JobState.FAILED, JobState.QUARANTINED)),
        uid.in_(_with_delivery(DeliveryState.HELD)),
    )
    unfinished = or_(
        state == StudyState.RECEIVING,
        uid.in_(_with_job(JobState.READY, JobState.ANALYSING)),
        uid.in_(_with_delivery(DeliveryState.READY, DeliveryState.SENDING)),
    )
    nobody_reads = or_(state == StudyState.NO_MODEL, uid.in_(_with_job(JobState.CANCELLED)))
    return case(
        (needs_help, Stage.ATTENTION.value),
        (unfinished, Stage.PROGRESS.value),
        (and_(nobody_reads, ~_answered()), Stage.NO_RESULT.value),
        else_=Stage.RESULT.value,
    )


def _answered() -> ColumnElement[bool]:
    of_study = job.c.study_instance_uid == study.c.study_instance_uid
    return select(job.c.id).where(of_study, job.c.state == JobState.ANALYSED).exists()


def _with_job(*states: JobState) -> Select[tuple[str]]:
    """Studies with a current job in one of the states."""
    return select(job.c.study_instance_uid).where(job.c.state.in_(states), ~_superseded())


def _with_delivery(*states: DeliveryState) -> Select[tuple[str]]:
    """Studies with a delivery in one of the states that is still owed."""
    return (
        select(job.c.study_instance_uid)
        .join(delivery, delivery.c.job_id == job.c.id)
        .where(delivery.c.state.in_(states), _owed())
    )


def _owed() -> ColumnElement[bool]:
    """Whether what was not sent of a job is missed: it counts, or its rejection is to be told."""
    return or_(job.c.rejected, ~_superseded())


def _superseded() -> ColumnElement[bool]:
    """Whether its model has a later job on the study; any takes the place of the node's own."""
    later = job.alias()
    same = or_(later.c.model_name == job.c.model_name, job.c.model_name == NODE)
    return (
        select(later.c.id)
        .where(later.c.study_instance_uid == job.c.study_instance_uid, same)
        .where(later.c.generation > job.c.generation)
    ).exists()


def _matching(query: Select[Any], search: str) -> Select[Any]:
    name, *others = (study.c.attributes[keyword].as_string() for keyword in SEARCHED)
    unparted = func.replace(name, "^", "")  # Chinese names are written as one word
    fields = (study.c.study_instance_uid, name, unparted, *others)
    for word in search.translate(NOT_STORED).split()[:MAX_WORDS]:
        query = query.where(or_(*(field.icontains(word, autoescape=True) for field in fields)))
    return query.where(study.c.state != StudyState.REMOVED)


def _entries(connection: Connection, studies: Sequence[Row]) -> tuple[WorklistEntry, ...]:
    uids = [row["study_instance_uid"] for row in studies]
    jobs = _jobs(connection, uids)
    progress = _progress(connection, uids)
    return tuple(
        WorklistEntry(row, tuple(jobs[uid]), tuple(progress[uid]))
        for row, uid in zip(studies, uids, strict=True)
    )


def _jobs(connection: Connection, uids: Sequence[str]) -> dict[str, list[Row]]:
    query = select(*SHOWN_OF_JOB).where(job.c.study_instance_uid.in_(uids))
    query = query.where(job.c.state != JobState.REMOVED)
    grouped = defaultdict(list)
    for row in _rows(connection, query.order_by(job.c.opened_at.desc())):
        grouped[row["study_instance_uid"]].append(row)
    return grouped


def _progress(connection: Connection, uids: Sequence[str]) -> dict[str, list[Progress]]:
    held = delivery.c.state == DeliveryState.HELD
    postponed = (delivery.c.state == DeliveryState.READY) & (delivery.c.attempt > 0)
    uid, destination = job.c.study_instance_uid, delivery.c.destination
    query = (
        select(
            uid,
            destination,
            func.count(),
            _count(delivery.c.state.in_(ARRIVED)),
            _count(delivery.c.state == DeliveryState.CONFIRMED),
            _count((delivery.c.state == DeliveryState.SENT) & (delivery.c.reason == UNPROVEN)),
            _count(delivery.c.state.in_(ARRIVED) & (delivery.c.proof != Proof.NONE)),
            _count(held),
            _count(postponed),
            func.coalesce(
                func.max(case((held, delivery.c.reason))),
                func.max(case((postponed, delivery.c.reason))),
                "",
            ),
        )
        .join(delivery, delivery.c.job_id == job.c.id)
        .where(uid.in_(uids), delivery.c.state.not_in(NEVER_SENT), or_(~held, _owed()))
        .where(job.c.state != JobState.REMOVED)
        .group_by(uid, destination)
        .order_by(destination)
    )
    grouped = defaultdict(list)
    for study_instance_uid, *columns in connection.execute(query):
        grouped[study_instance_uid].append(Progress(*columns))
    return grouped


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _rows(connection: Connection, query: Select[Any]) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(query).mappings())

"""What people and monitors read: worklist, one study, counts. And what readers write: reviews."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from dicom_node.domain.review import Review, Verdict
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import (
    delivery,
    event,
    instance,
    job,
    result,
    review,
    selection,
    series,
    study,
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """One study of the worklist with the jobs of its latest generations."""

    study: Row
    images: int
    jobs: tuple[Row, ...]
    sent: int
    """Deliveries that arrived."""
    deliveries: int


@dataclass(frozen=True, slots=True)
class StudyPage:
    """All that the ledger knows of one study."""

    study: Row
    series: tuple[Row, ...]
    jobs: tuple[Row, ...]
    selection: tuple[Row, ...]
    results: tuple[Row, ...]
    deliveries: tuple[Row, ...]
    reviews: tuple[Row, ...]
    events: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is, by state."""

    studies: Mapping[str, int]
    jobs: Mapping[str, int]
    deliveries: Mapping[tuple[str, str], int]
    """By (destination, state)."""
    instances: int
    stored_bytes: int
    oldest_wait_s: float
    """Since the oldest job that is READY was opened; 0: none waits."""


class Pages:
    """Queries that change nothing, and the readers' reviews."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def worklist(self, limit: int = 100) -> list[WorklistEntry]:
        """The studies that received most recently, newest first."""
        query = select(study).order_by(study.c.last_received_at.desc()).limit(limit)
        with self._database.read() as connection:
            return [_entry(connection, row) for row in _rows(connection, query)]

    def study(self, study_instance_uid: str) -> StudyPage | None:
        """Everything about one study; none if it is unknown."""
        with self._database.read() as connection:
            found = _of_study(connection, study, study_instance_uid)
            if not found:
                return None
            jobs = _of_study(connection, job, study_instance_uid)
            ids = [row["id"] for row in jobs]
            return StudyPage(
                study=found[0],
                series=_of_study(connection, series, study_instance_uid),
                jobs=tuple(sorted(jobs, key=lambda row: -row["opened_at"])),
                selection=_of_study(connection, selection, study_instance_uid),
                results=_of_jobs(connection, result, ids, result.c.position),
                deliveries=_of_jobs(connection, delivery, ids, delivery.c.destination),
                reviews=_of_jobs(connection, review, ids, review.c.at),
                events=_of_study(connection, event, study_instance_uid),
            )

    def job(self, job_id: str) -> Row | None:
        """One job's row; none if it is unknown."""
        with self._database.read() as connection:
            rows = _rows(connection, select(job).where(job.c.id == job_id))
            return rows[0] if rows else None

    def review(self, said: Review) -> None:
        """Keep a reader's word beside the earlier ones."""
        values = {
            "job_id": said.job_id,
            "reader": said.reader,
            "verdict": Verdict(said.verdict),
            "comment": said.comment,
            "at": said.at.timestamp(),
        }
        with self._database.write() as connection:
            connection.execute(insert(review).values(values))

    def counts(self) -> Counts:
        """The gauges of ``/metrics``; of the ledger at one moment."""
        with self._database.read() as connection:
            by_destination = connection.execute(
                select(delivery.c.destination, delivery.c.state, func.count()).group_by(
                    delivery.c.destination, delivery.c.state
                )
            )
            stored = connection.execute(
                select(func.count(), func.coalesce(func.sum(instance.c.size_bytes), 0)).select_from(
                    instance
                )
            ).one()
            oldest = connection.scalar(
                select(func.min(job.c.opened_at)).where(job.c.state == "READY")
            )
            return Counts(
                studies=_by_state(connection, study),
                jobs=_by_state(connection, job),
                deliveries={(name, state): count for name, state, count in by_destination},
                instances=stored[0],
                stored_bytes=stored[1],
                oldest_wait_s=max(0.0, time.time() - oldest) if oldest else 0.0,
            )


def moment(seconds: float) -> datetime:
    """A ledger time as a UTC date and time."""
    return datetime.fromtimestamp(seconds, UTC)


def _entry(connection: Connection, row: Row) -> WorklistEntry:
    uid = row["study_instance_uid"]
    jobs = _of_study(connection, job, uid)
    states = _rows(
        connection,
        select(delivery.c.state, func.count().label("count"))
        .join(job, job.c.id == delivery.c.job_id)
        .where(job.c.study_instance_uid == uid)
        .group_by(delivery.c.state),
    )
    images = connection.scalar(
        select(func.count()).select_from(instance).where(instance.c.study_instance_uid == uid)
    )
    return WorklistEntry(
        study=row,
        images=images or 0,
        jobs=tuple(sorted(jobs, key=lambda row: -row["opened_at"])),
        sent=sum(s["count"] for s in states if s["state"] == "SENT"),
        deliveries=sum(s["count"] for s in states),
    )


def _rows(connection: Connection, query: Any) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(query).mappings())


def _of_study(connection: Connection, table: Table, uid: str) -> tuple[Row, ...]:
    query = select(table).where(table.c.study_instance_uid == uid)
    if "id" in table.c and table is not job:
        query = query.order_by(table.c.id)
    return _rows(connection, query)


def _of_jobs(
    connection: Connection, table: Table, ids: Sequence[str], order: Any
) -> tuple[Row, ...]:
    return _rows(connection, select(table).where(table.c.job_id.in_(ids)).order_by(order))


def _by_state(connection: Connection, table: Table) -> dict[str, int]:
    query = select(table.c.state, func.count().label("rows")).group_by(table.c.state)
    return {row.state: row.rows for row in connection.execute(query)}

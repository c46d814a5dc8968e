"""What people and monitors read: worklist, one study, counts. And what readers write: reviews."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from dicom_node.domain.job import JobState
from dicom_node.domain.review import Review
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import (
    delivery,
    event,
    instance,
    job,
    removal,
    result,
    review,
    selection,
    series,
    study,
)
from dicom_node.ledger.worklist import SHOWN_OF_JOB, Row, Stage, Worklist, read_worklist

MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class StudyPage:
    """All that the ledger knows of one study."""

    study: Row
    images: Mapping[str, int]
    """Instances received, by Series Instance UID."""
    series: tuple[Row, ...]
    """As of the last closing: none while a new study receives."""
    jobs: tuple[Row, ...]
    """Of all generations, newest first; without ``inputs``, and without those that were removed."""
    selection: tuple[Row, ...]
    """Of the latest closing."""
    results: tuple[Row, ...]
    deliveries: tuple[Row, ...]
    reviews: tuple[Row, ...]
    removals: tuple[Row, ...]
    """When and why what there was of it was removed, oldest first."""
    events: tuple[Row, ...]
    """Oldest first; at most the latest ``MAX_EVENTS``."""


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

    def worklist(
        self, *, stage: Stage | None = None, search: str = "", page: int = 1, size: int = 50
    ) -> Worklist:
        """One page of the studies, those that received most recently first.

        ``search``: words, each to be found in the patient's name or ID, the accession number
        or the Study Instance UID.
        """
        with self._database.read() as connection:
            return read_worklist(connection, stage, search, page, size)

    def study(self, study_instance_uid: str) -> StudyPage | None:
        """Everything about one study; none if it is unknown."""
        with self._database.read() as connection:
            found = _of_study(connection, study, study_instance_uid)
            if not found:
                return None
            jobs = _jobs(connection, study_instance_uid)
            ids = [row["id"] for row in jobs]
            return StudyPage(
                study=found[0],
                images=_images(connection, study_instance_uid),
                series=_of_study(connection, series, study_instance_uid),
                jobs=jobs,
                selection=_selection(connection, study_instance_uid),
                results=_of_jobs(connection, result, ids, result.c.position),
                deliveries=_of_jobs(connection, delivery, ids, delivery.c.destination, _position()),
                reviews=_of_jobs(connection, review, ids, review.c.at),
                removals=_of_study(connection, removal, study_instance_uid),
                events=_events(connection, study_instance_uid),
            )

    def job(self, job_id: str) -> Row | None:
        """One job's row, without ``inputs``; none if it is unknown, or was removed."""
        with self._database.read() as connection:
            of_id = job.c.id == job_id, job.c.state != JobState.REMOVED
            rows = _rows(connection, select(*SHOWN_OF_JOB).where(*of_id))
            return rows[0] if rows else None

    def delivery(self, delivery_id: str) -> Row | None:
        """One delivery's row; none if it is unknown."""
        with self._database.read() as connection:
            rows = _rows(connection, select(delivery).where(delivery.c.id == delivery_id))
            return rows[0] if rows else None

    def review(self, said: Review) -> None:
        """Keep a reader's word beside the earlier ones."""
        with self._database.write() as connection:
            connection.execute(insert(review).values(said.row()))

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


def _rows(connection: Connection, query: Any) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(query).mappings())


def _of_study(connection: Connection, table: Table, uid: str) -> tuple[Row, ...]:
    return _rows(connection, select(table).where(table.c.study_instance_uid == uid))


def _jobs(connection: Connection, uid: str) -> tuple[Row, ...]:
    query = select(*SHOWN_OF_JOB).where(job.c.study_instance_uid == uid)
    query = query.where(job.c.state != JobState.REMOVED)
    return _rows(connection, query.order_by(job.c.opened_at.desc()))


def _images(connection: Connection, uid: str) -> dict[str, int]:
    query = (
        select(instance.c.series_instance_uid, func.count().label("images"))
        .where(instance.c.study_instance_uid == uid)
        .group_by(instance.c.series_instance_uid)
    )
    return {row.series_instance_uid: row.images for row in connection.execute(query)}


def _selection(connection: Connection, uid: str) -> tuple[Row, ...]:
    of_study = selection.c.study_instance_uid == uid
    latest = select(func.max(selection.c.generation)).where(of_study).scalar_subquery()
    query = select(selection).where(of_study, selection.c.generation == latest)
    return _rows(connection, query.order_by(selection.c.id))


def _events(connection: Connection, uid: str) -> tuple[Row, ...]:
    query = select(event).where(event.c.study_instance_uid == uid)
    latest = _rows(connection, query.order_by(event.c.id.desc()).limit(MAX_EVENTS))
    return tuple(reversed(latest))


def _of_jobs(
    connection: Connection, table: Table, ids: Sequence[str], *order: Any
) -> tuple[Row, ...]:
    return _rows(connection, select(table).where(table.c.job_id.in_(ids)).order_by(*order))


def _position() -> Any:
    """Of what a delivery delivers: the order of sending."""
    sent = result.c.sop_instance_uid == delivery.c.sop_instance_uid
    return select(result.c.position).where(sent).scalar_subquery()


def _by_state(connection: Connection, table: Table) -> dict[str, int]:
    query = select(table.c.state, func.count().label("rows")).group_by(table.c.state)
    return {row.state: row.rows for row in connection.execute(query)}

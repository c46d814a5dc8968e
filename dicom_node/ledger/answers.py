"""Answers in place of results: why a model did not run, or failed. Silence is never negative."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, select, update

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import Job, JobState
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.jobs import Readers, add_results
from dicom_node.ledger.schema import delivery, job
from dicom_node.ledger.succession import Row, standing, supersede


class Answers:
    """Each failure is answered once; the same failure after a retry needs no second answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, states: Collection[JobState]) -> list[str]:
        """Ids of the jobs in one of these states whose reason nobody was told, oldest first."""
        in_states = (job.c.state + "").in_(states)  # or SQLite reads all jobs of these states
        query = select(job.c.id).where(in_states, job.c.answered != job.c.reason)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(job.c.opened_at)))

    def predecessors(self, of: Job, destinations: Collection[str] = ()) -> list[Row]:
        """Rows of the results that new ones of a job take the place of.

        Of those, if destinations are named, that one of them was to get; all, if they were to get
        none, for they may have had other names.
        """
        with self._database.read() as connection:
            row = connection.execute(select(job).where(job.c.id == of.id)).mappings().one()
            rows = standing(connection, row)
            got = _addressed(connection, rows, destinations)
            return [row for row in rows if row["sop_instance_uid"] in got] or rows

    def earlier_summaries(self, of: Job) -> list[Mapping[str, Any]]:
        """What a job's model said of earlier generations of the study, the oldest first."""
        query = (
            select(job.c.summary)
            .where(job.c.study_instance_uid == of.study_instance_uid)
            .where(job.c.model_name == of.model_name, job.c.generation < of.generation)
            .where(job.c.state == JobState.ANALYSED)
            .order_by(job.c.generation, job.c.model_version)
        )
        with self._database.read() as connection:
            return list(connection.scalars(query))

    def give(
        self,
        of: Job,
        results: Sequence[StoredResult],
        destinations: Mapping[str, Sequence[ResultKind]],
        readers: Readers = MappingProxyType({}),
    ) -> None:
        """Keep an answer to the reason that the job has now, with its deliveries.

        Without results: nothing can be said, and nobody shall try again. Raises
        ``LedgerConflict`` when the job has moved on or was answered meanwhile.
        """
        change = (
            update(job)
            .where(job.c.id == of.id, job.c.state == of.state, job.c.reason == of.reason)
            .where(job.c.answered != of.reason)
            .values(answered=of.reason)
            .returning(*job.c)
        )
        with self._database.write() as connection:
            row = connection.execute(change).mappings().first()
            if row is None:
                raise LedgerConflict(f"job {of.id} was answered, or has moved on")
            if results:
                supersede(connection, row)
                add_results(connection, of.id, results, destinations, readers)
            action = "job.answered" if results else "job.unanswerable"
            uid = of.study_instance_uid
            events.write(connection, uid, action, job_id=of.id, reason=of.reason)


def _addressed(
    connection: Connection, rows: Sequence[Row], destinations: Collection[str]
) -> set[str]:
    """SOP Instance UIDs of those that one of the destinations was to get."""
    uids = [row["sop_instance_uid"] for row in rows]
    query = select(delivery.c.sop_instance_uid).where(
        delivery.c.sop_instance_uid.in_(uids), delivery.c.destination.in_(destinations)
    )
    return set(connection.scalars(query))

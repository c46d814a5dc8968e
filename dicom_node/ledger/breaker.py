"""The circuit breaker of each model: five studies in a row that it is to blame for pause it.

A strike is a study that left the model's job in quarantine by a crash, a hang, a lack of memory or
an answer that means nothing, since its last success, or since a person had one of its jobs tried
again. Unusable images say nothing of the model: they are no strike, and end no row of strikes. The
jobs of a paused model wait; nothing of them is lost.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select

from dicom_node.domain.errors import UnusableOutput
from dicom_node.domain.job import POISON, JobState
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import job, strike

MOST_STRIKES = 5
REASON = "MODEL_PAUSED"
TO_BLAME = POISON | {UnusableOutput.code}
"""Reasons of a quarantine that are held against the model."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A model that is not run until a person says so."""

    name: str
    version: str
    studies: int

    @property
    def id(self) -> str:
        """As in the catalog."""
        return f"{self.name}@{self.version}"


class Breaker:
    """Says which models are paused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> list[Paused]:
        """Every paused model."""
        query = (
            select(func.min(job.c.model_name), func.min(job.c.model_version), func.count())
            .select_from(strike.join(job, job.c.id == strike.c.job_id))
            .group_by(strike.c.bundle_sha256)
            .having(func.count() >= MOST_STRIKES)
        )
        with self._database.read() as connection:
            return [Paused(*row) for row in connection.execute(query)]


def of_paused_models() -> Select[Any]:
    """The bundles that no job may be claimed for."""
    return (
        select(strike.c.bundle_sha256)
        .group_by(strike.c.bundle_sha256)
        .having(func.count() >= MOST_STRIKES)
    )


def count(
    connection: Connection, database: Database, job_id: str, state: JobState, reason: str
) -> None:
    """A job has ended: a strike for its model, the end of all its strikes, or neither."""
    columns = job.c.bundle_sha256, job.c.study_instance_uid
    bundle, uid = connection.execute(select(*columns).where(job.c.id == job_id)).one()
    if state is JobState.QUARANTINED and reason in TO_BLAME:
        values = {"bundle_sha256": bundle, "study_instance_uid": uid, "job_id": job_id}
        connection.execute(database.insert_or_skip(strike).values(values))
    elif state is JobState.ANALYSED:
        forgive(connection, bundle)


def forgive(connection: Connection, bundle_sha256: str) -> None:
    """A bundle is run again."""
    connection.execute(delete(strike).where(strike.c.bundle_sha256 == bundle_sha256))

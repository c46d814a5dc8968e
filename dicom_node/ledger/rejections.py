"""Rejections: a reader says that a result must not stand; a note goes after what was sent."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, exists, insert, select, update

from dicom_node.domain.delivery import ARRIVED, DeliveryState, ResultKind, StoredResult
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import JobState
from dicom_node.domain.review import Review
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.deliveries import withdraw
from dicom_node.ledger.jobs import add_results
from dicom_node.ledger.schema import delivery, job, result, review
from dicom_node.ledger.succession import Row


class Rejections:
    """Asked for by a person, written by a worker, sent wherever the result went."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, said: Review) -> bool:
        """Keep a reader's rejection and stop what was not sent yet.

        False where there is nothing to reject: no result, or it was rejected before.
        """
        rejected = (
            update(job)
            .where(job.c.id == said.job_id, job.c.rejected.is_(False), _has_results())
            .where(job.c.state != JobState.REMOVED)
            .values(rejected=True)
            .returning(job.c.study_instance_uid)
        )
        with self._database.write() as connection:
            uid = connection.scalar(rejected)
            if uid is None:
                return False
            connection.execute(insert(review).values(said.row()))
            withdraw(connection, said.job_id)
            events.write(connection, uid, "job.rejected", job_id=said.job_id)
            return True

    def waiting(self) -> list[str]:
        """Ids of rejected jobs of which objects were sent, none is on its way, and no note told."""
        on_its_way = exists().where(
            delivery.c.job_id == job.c.id, delivery.c.state == DeliveryState.SENDING
        )
        query = select(job.c.id).where(job.c.rejected, _has_sent(), ~on_its_way, ~_has_note())
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(job.c.opened_at)))

    def sent(self, job_id: str) -> dict[str, list[Row]]:
        """The results that each destination has, in the order of sending."""
        with self._database.read() as connection:
            return _sent(connection, job_id)

    def word(self, job_id: str) -> Row:
        """The rejecting reader's review; ``LedgerConflict`` if there is none."""
        query = select(review).where(review.c.job_id == job_id, review.c.verdict == "REJECT")
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise LedgerConflict(f"nobody has rejected job {job_id}")
        return row

    def tell(
        self,
        job_id: str,
        notes: Sequence[tuple[StoredResult, Sequence[str]]],
        told: Mapping[str, Sequence[str]],
    ) -> None:
        """Keep the notes, each with the destinations that it goes to.

        ``told``: by destination, the SOP Instance UIDs that its note tells of. Raises
        ``LedgerConflict`` when there is a note, or when other results were sent: more went out
        meanwhile.
        """
        with self._database.write() as connection:
            withdraw(connection, job_id)
            owed = select(job.c.study_instance_uid).where(job.c.id == job_id, ~_has_note())
            uid = connection.scalar(owed.with_for_update())
            sent = _sent(connection, job_id)
            now = {name: [row["sop_instance_uid"] for row in rows] for name, rows in sent.items()}
            if uid is None or now != told:
                raise LedgerConflict(f"what was sent of job {job_id} has changed")
            for note, names in notes:
                wanted = dict.fromkeys(names, (ResultKind.REJECTION_NOTE,))
                add_results(connection, job_id, [note], wanted)
            events.write(connection, uid, "job.retracted", job_id=job_id)


def _sent(connection: Connection, job_id: str) -> dict[str, list[Row]]:
    query = (
        select(delivery.c.destination, *result.c)
        .join(result, result.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(delivery.c.job_id == job_id)
        .where(delivery.c.state.in_((*ARRIVED, DeliveryState.SENDING)))
        .order_by(delivery.c.destination, result.c.position)
    )
    found: dict[str, list[Row]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["destination"], []).append(row)
    return found


def _has_results() -> ColumnElement[bool]:
    return exists().where(result.c.job_id == job.c.id)


def _has_sent() -> ColumnElement[bool]:
    return exists().where(delivery.c.job_id == job.c.id, delivery.c.state.in_(ARRIVED))


def _has_note() -> ColumnElement[bool]:
    return exists().where(result.c.job_id == job.c.id, result.c.kind == ResultKind.REJECTION_NOTE)

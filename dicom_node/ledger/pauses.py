"""Pauses of jobs and deliveries that were put off: whoever puts one off begins it, the sweep ends
it.

No wall clock ends a pause, for that may be moved meanwhile: the sweep watches by a clock that only
counts on (``watch.Pauses``). The times that are kept tell a sweep that has just started how much
of a pause is left.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, bindparam, or_, select, update

from dicom_node.domain.delivery import DeliveryState, Proof
from dicom_node.domain.job import JobState
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import delivery, job

LONGEST_PAUSE_S = 3600.0
"""No pause of the ledger is longer."""
DUE = 0.0
"""In place of the time when a pause ends: there is none."""
WANTED = (Proof.COMMITMENT, Proof.QUERY)
WAITING = (
    (job, job.c.state == JobState.READY),
    (delivery, or_(delivery.c.state == DeliveryState.READY, delivery.c.proof.in_(WANTED))),
)


@dataclass(frozen=True, slots=True)
class Pause:
    """A job or a delivery that waits, to go or to be asked for; times in seconds."""

    id: str
    next_at: float
    """Its end, by the wall clock as that stood when the pause began."""
    length_s: float

    def left_s(self, now: float) -> float:
        """How much of it is left at a wall-clock time."""
        return min(max(0.0, self.next_at - now), self.length_s)


def put_off(pause_s: float) -> dict[str, float]:
    """Columns of a row whose pause begins now."""
    now = time.time()
    return {"next_at": now + pause_s if pause_s else DUE, "updated_at": now}


def due(next_at: Column[float]) -> ColumnElement[bool]:
    """Whether a row is in no pause."""
    return next_at == DUE


class Pauses:
    """Of all jobs and deliveries that wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun(self) -> list[Pause]:
        """Those that have not ended."""
        with self._database.read() as connection:
            return [
                Pause(row.id, row.next_at, min(row.length_s, LONGEST_PAUSE_S))
                for table, waiting in WAITING
                for row in connection.execute(
                    select(
                        table.c.id,
                        table.c.next_at,
                        (table.c.next_at - table.c.updated_at).label("length_s"),
                    ).where(waiting, ~due(table.c.next_at))
                )
            ]

    def end(self, pauses: Sequence[Pause]) -> None:
        """What waits is due; what was put off anew meanwhile is not."""
        rows = [{"which": pause.id, "seen": pause.next_at} for pause in pauses]
        with self._database.write() as connection:
            for table, _ in WAITING:
                same = (table.c.id == bindparam("which")) & (table.c.next_at == bindparam("seen"))
                connection.execute(update(table).where(same).values(next_at=DUE), rows)

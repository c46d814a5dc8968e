"""Deliveries in the ledger: one function for each transition that domain/delivery.py draws.

A shipment is everything that one job still owes one destination. It is claimed as a whole, for
its order matters: what a report refers to goes before the report.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from dicom_node.domain.delivery import (
    DELIVERY_TRANSITIONS,
    REPORT_FORMS,
    Delivery,
    DeliveryState,
    Proof,
    ResultKind,
    StoredResult,
)
from dicom_node.domain.errors import LedgerConflict
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.pauses import DUE, due, put_off
from dicom_node.ledger.schema import delivery, job, result

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 900.0


@dataclass(frozen=True, slots=True)
class Shipment:
    """The claimed deliveries of one job to one destination, in the order of sending."""

    job_id: str
    destination: str
    token: str
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one destination."""

    destination: str
    studies: int
    postponed: int
    """Of these studies, those of which something was tried in vain."""
    reason: str
    """Of one of these."""


class Deliveries:
    """Each object of each job to each destination: sent, or waiting with a reason."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> list[tuple[str, str]]:
        """(job id, destination) of every shipment that may be claimed now, oldest first."""
        query = (
            select(delivery.c.job_id, delivery.c.destination)
            .where(delivery.c.state == DeliveryState.READY, due(delivery.c.next_at))
            .group_by(delivery.c.job_id, delivery.c.destination)
        )
        with self._database.read() as connection:
            return [(row.job_id, row.destination) for row in connection.execute(query)]

    def backlog(self) -> list[Backlog]:
        """Of every destination that something waits for."""
        tried = delivery.c.attempt > 0
        uid = job.c.study_instance_uid
        query = (
            select(
                delivery.c.destination,
                func.count(uid.distinct()),
                func.count(case((tried, uid)).distinct()),
                func.coalesce(func.max(case((tried, delivery.c.reason))), ""),
            )
            .join(job, job.c.id == delivery.c.job_id)
            .where(delivery.c.state == DeliveryState.READY)
            .group_by(delivery.c.destination)
            .order_by(delivery.c.destination)
        )
        with self._database.read() as connection:
            return [Backlog(*row) for row in connection.execute(query)]

    def beats(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Of every claimed shipment: its token and its heartbeat counter."""
        columns = (delivery.c.job_id, delivery.c.destination, delivery.c.token, delivery.c.beat)
        query = select(*columns).where(delivery.c.state == DeliveryState.SENDING)
        with self._database.read() as connection:
            return {
                (row.job_id, row.destination): (row.token, row.beat)
                for row in connection.execute(query)
            }

    def claim(self, job_id: str, destination: str) -> Shipment | None:
        """READY -> SENDING for all that waits, once the first in order is due.

        None if nothing is due, or another holds the shipment.
        """
        token = str(uuid.uuid4())
        of_shipment = (delivery.c.job_id == job_id) & (delivery.c.destination == destination)
        with self._database.write() as connection:
            if connection.scalar(select(job.c.rejected).where(job.c.id == job_id)):
                withdraw(connection, job_id)
            if not _may_claim(connection, of_shipment):
                return None
            _keep_one_form(connection, of_shipment)
            change = move(DeliveryState.READY, DeliveryState.SENDING)
            again = {"attempt": delivery.c.attempt + 1, "next_at": DUE}
            values = {"token": token, "beat": 0, **again}
            connection.execute(change.where(of_shipment).values(values))
            claimed = load(connection, token)
        return Shipment(job_id, destination, token, claimed) if claimed else None

    def beat(self, shipment: Shipment) -> None:
        """Say that the claim lives; ``LedgerConflict`` once it was lost."""
        change = (
            update(delivery)
            .where(delivery.c.token == shipment.token)
            .where(delivery.c.state == DeliveryState.SENDING)
            .values(beat=delivery.c.beat + 1)
        )
        with self._database.write() as connection:
            if connection.execute(change).rowcount == 0:
                raise LedgerConflict(f"the claim on a shipment of job {shipment.job_id} was lost")

    def sent(
        self, shipment: Shipment, item: Delivery, reason: str = "", proof: Proof = Proof.NONE
    ) -> None:
        """SENDING -> SENT; ``reason`` keeps a warning status of the peer, ``proof`` is what it is
        to be asked next."""
        self._leave(shipment, item, DeliveryState.SENT, reason, proof=proof)

    def postpone(self, shipment: Shipment, item: Delivery, reason: str) -> None:
        """SENDING -> READY after a pause that doubles from 30 s to 15 minutes with ``attempt``."""
        pause_s = min(FIRST_PAUSE_S * 2 ** (item.attempt - 1), LONGEST_PAUSE_S)
        self._leave(shipment, item, DeliveryState.READY, reason, pause_s=pause_s)

    def hold(self, shipment: Shipment, item: Delivery, reason: str) -> None:
        """SENDING -> HELD: only a person's word sends it again."""
        self._leave(shipment, item, DeliveryState.HELD, reason)

    def give_back(self, token: str) -> None:
        """SENDING -> READY for all that a dead claim still held."""
        change = move(DeliveryState.SENDING, DeliveryState.READY)
        values = {"token": "", "reason": "LEASE_LOST"}
        with self._database.write() as connection:
            connection.execute(change.where(delivery.c.token == token).values(values))

    def retry(self, delivery_id: str) -> bool:
        """A person's word: HELD, or READY in a pause, becomes due now."""
        change = (
            update(delivery)
            .where(delivery.c.id == delivery_id)
            .where(delivery.c.state.in_((DeliveryState.HELD, DeliveryState.READY)))
            .values(state=DeliveryState.READY, attempt=0, lost=0, next_at=DUE)
            .values(updated_at=time.time())
        )
        with self._database.write() as connection:
            return connection.execute(change).rowcount == 1

    def _leave(
        self,
        shipment: Shipment,
        item: Delivery,
        state: DeliveryState,
        reason: str,
        *,
        pause_s: float = 0,
        proof: Proof = Proof.NONE,
    ) -> None:
        change = move(DeliveryState.SENDING, state).where(
            delivery.c.id == item.id, delivery.c.token == shipment.token
        )
        asked = {"proof": proof, "asked": 0, "transaction_uid": ""}
        values = {"reason": reason, "attempt": item.attempt, "token": "", **asked}
        values |= put_off(pause_s)
        with self._database.write() as connection:
            if connection.execute(change.values(values)).rowcount != 1:
                raise LedgerConflict(f"the claim on delivery {item.id} was lost")
            if item.result.kind in REPORT_FORMS:
                choose_form(connection, item.job_id, item.destination, item.result.kind, state)
            uid = connection.scalar(select(job.c.study_instance_uid).where(job.c.id == item.job_id))
            action = f"delivery.{state.lower()}"
            events.write(connection, str(uid), action, job_id=item.job_id, reason=reason)


def withdraw(connection: Connection, job_id: str) -> None:
    """What is left of a rejected result -> WITHDRAWN; the note itself goes."""
    notes = select(result.c.sop_instance_uid).where(
        result.c.job_id == job_id, result.c.kind == ResultKind.REJECTION_NOTE
    )
    for before in (DeliveryState.READY, DeliveryState.HELD, DeliveryState.NOT_NEEDED):
        change = move(before, DeliveryState.WITHDRAWN).where(delivery.c.job_id == job_id)
        rest = change.where(delivery.c.sop_instance_uid.not_in(notes))
        connection.execute(rest.values(reason="REJECTED"))


def _keep_one_form(connection: Connection, of_shipment: Any) -> None:
    """While a form of the report waits to go, those after it are spared."""
    for number, form in enumerate(REPORT_FORMS, 1):
        waits = of_shipment & _of_kind(form) & (delivery.c.state == DeliveryState.READY)
        if connection.scalar(select(delivery.c.id).where(waits)):
            _spare(connection, of_shipment & _of_kind(*REPORT_FORMS[number:]))


def choose_form(
    connection: Connection, job_id: str, destination: str, kind: ResultKind, state: DeliveryState
) -> None:
    """A form that was sent ends the others; where one is held, the next goes."""
    of_shipment = (delivery.c.job_id == job_id) & (delivery.c.destination == destination)
    if state is DeliveryState.SENT:
        _spare(connection, of_shipment & _of_kind(*REPORT_FORMS))
    elif state is DeliveryState.HELD:
        for form in REPORT_FORMS[REPORT_FORMS.index(kind) + 1 :]:
            change = move(DeliveryState.NOT_NEEDED, DeliveryState.READY)
            values = {"reason": "", "attempt": 0, "next_at": DUE}
            of_form = of_shipment & _of_kind(form)
            if connection.execute(change.where(of_form).values(values)).rowcount:
                return


def _spare(connection: Connection, which: Any) -> None:
    """READY, HELD -> NOT_NEEDED."""
    for before in (DeliveryState.READY, DeliveryState.HELD):
        change = move(before, DeliveryState.NOT_NEEDED).where(which)
        connection.execute(change.values(reason="OTHER_FORM"))


def _of_kind(*kinds: ResultKind) -> Any:
    return delivery.c.sop_instance_uid.in_(
        select(result.c.sop_instance_uid).where(
            result.c.job_id == delivery.c.job_id, result.c.kind.in_(kinds)
        )
    )


def _may_claim(connection: Connection, of_shipment: Any) -> bool:
    """Whether nobody holds the shipment and the first of what waits is due."""
    held = select(delivery.c.id).where(of_shipment, delivery.c.state == DeliveryState.SENDING)
    first = (
        select(due(delivery.c.next_at))
        .select_from(
            delivery.join(result, result.c.sop_instance_uid == delivery.c.sop_instance_uid)
        )
        .where(of_shipment, delivery.c.state == DeliveryState.READY)
        .order_by(result.c.position)
        .limit(1)
    )
    return connection.scalar(held.limit(1)) is None and bool(connection.scalar(first))


def move(before: DeliveryState, after: DeliveryState) -> Any:
    """UPDATE of what is in a state; ``ValueError`` for what the drawing does not have."""
    if after not in DELIVERY_TRANSITIONS[before]:
        raise ValueError(f"a delivery cannot go from {before} to {after}")
    return (
        update(delivery)
        .where(delivery.c.state == before)
        .values(state=after, updated_at=time.time())
    )


def load(connection: Connection, token: str) -> tuple[Delivery, ...]:
    """What a token claims, in the order of sending."""
    query = (
        select(delivery, *(c for c in result.c if c.name not in delivery.c))
        .join(result, result.c.sop_instance_uid == delivery.c.sop_instance_uid)
        .where(delivery.c.token == token)
        .order_by(result.c.position)
    )
    return tuple(_delivery(row) for row in connection.execute(query).mappings())


def _delivery(row: Mapping[Any, Any]) -> Delivery:
    fields = {name: row[name] for name in StoredResult.__dataclass_fields__}
    stored = StoredResult(**fields | {"kind": ResultKind(row["kind"])})
    return Delivery(
        id=row["id"],
        job_id=row["job_id"],
        destination=row["destination"],
        result=stored,
        state=DeliveryState(row["state"]),
        attempt=row["attempt"],
        reason=row["reason"],
    )

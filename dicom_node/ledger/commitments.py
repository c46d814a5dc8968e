"""Proof of deliveries in the ledger: what was sent is asked for until the archive confirms it.

Two workers may ask at once: who claims gets a token and time, and whoever comes late with another
token changes nothing. What is asked by Storage Commitment needs no claim: its transaction does it.
"""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, case, exists, select, update

from dicom_node.domain.delivery import (
    REPORT_FORMS,
    UNPROVEN,
    Delivery,
    DeliveryState,
    Proof,
    ResultKind,
)
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.uid import uuid_uid
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.deliveries import FIRST_PAUSE_S, choose_form, load, move
from dicom_node.ledger.pauses import DUE, WANTED, due, put_off
from dicom_node.ledger.schema import delivery, job, result

SILENCE_S = 3600.0
"""After which a transaction without a report is given up."""
ASK_AGAIN_S = 300.0
"""After a no, or without a connection."""
LEASE_S = 300.0
"""For one round of questions."""
FIRST_LOOK_S = 60.0
"""Until C-FIND is asked again for what it did not find, for archives index late; doubled each
time."""
MOST_ASKED, MOST_LOOKS = 3, 5
FOUND, NOT_FOUND, SILENT = "FOUND", "NOT_FOUND", "COMMITMENT_SILENT"
"""Reason codes."""
MOST_LOST = {Proof.COMMITMENT: 3, Proof.QUERY: 2}
"""Of one object that the archive took and does not have; then it is held."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """Objects of one job that one destination is to be asked for."""

    study_instance_uid: str
    destination: str
    token: str
    by: Proof
    deliveries: tuple[Delivery, ...]


class Reported(StrEnum):
    """What became of a commitment report."""

    TAKEN = "TAKEN"
    TWICE = "TWICE"
    """Nothing of it is new."""
    UNKNOWN = "UNKNOWN"
    """No such transaction."""
    NOT_ASKED = "NOT_ASKED"
    """It names an instance that the transaction did not ask for."""


class Commitments:
    """SENT, COMMITMENT_ASKED and what they lead to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> list[tuple[str, str]]:
        """(job id, destination) of all that may be asked for now, each once."""
        query = (
            select(delivery.c.job_id, delivery.c.destination)
            .where(delivery.c.proof.in_(WANTED), due(delivery.c.next_at), ~_still_goes())
            .distinct()
        )
        with self._database.read() as connection:
            return [(row.job_id, row.destination) for row in connection.execute(query)]

    def claim(self, job_id: str, destination: str) -> Unproven | None:
        """What is due, by one kind of proof; none while some of the shipment still goes."""
        token = str(uuid.uuid4())
        of_shipment = (delivery.c.job_id == job_id) & (delivery.c.destination == destination)
        with self._database.write() as connection:
            _end_silence(connection, of_shipment)
            _forget_rejected(connection, job_id)
            is_due = of_shipment & due(delivery.c.next_at) & ~_still_goes()
            is_due &= delivery.c.state == DeliveryState.SENT
            wanted = is_due & delivery.c.proof.in_(WANTED)
            by = connection.scalar(select(delivery.c.proof).where(wanted).limit(1))
            if by is None:
                return None
            values = {"token": token, **put_off(LEASE_S)}
            change = update(delivery).where(is_due, delivery.c.proof == by)
            connection.execute(change.values(values))
            claimed, uid = load(connection, token), _study(connection, job_id)
        return Unproven(uid, destination, token, Proof(by), claimed)

    def ask(self, claim: Unproven) -> str:
        """SENT -> COMMITMENT_ASKED; returns the Transaction UID, which is safe before it is said.

        Raises ``LedgerConflict`` when the claim was lost.
        """
        transaction_uid = uuid_uid(f"commitment {claim.token}")
        change = move(DeliveryState.SENT, DeliveryState.COMMITMENT_ASKED)
        values = {
            "transaction_uid": transaction_uid, "asked": delivery.c.asked + 1, "token": "",
            **put_off(SILENCE_S),
        }  # fmt: skip
        with self._database.write() as connection:
            asked = connection.execute(change.where(_held_by(claim)).values(values)).rowcount
            if asked != len(claim.deliveries):
                raise LedgerConflict("the claim on what was to be confirmed was lost")
            _note(connection, "delivery.commitment_asked", claim.deliveries[0].job_id)
        return transaction_uid

    def refused(self, transaction_uid: str, reason: str) -> None:
        """COMMITMENT_ASKED -> SENT: the peer does not take the question, now or at all."""
        asked = delivery.c.transaction_uid == transaction_uid
        with self._database.write() as connection:
            _back_to_sent(connection, asked, reason, ASK_AGAIN_S)

    def postpone(self, claim: Unproven, reason: str) -> None:
        """Nobody could be asked; it counts for nothing."""
        with self._database.write() as connection:
            values = {"token": "", "reason": reason, **put_off(ASK_AGAIN_S)}
            connection.execute(update(delivery).where(_held_by(claim)).values(values))

    def give_up(self, claim: Unproven, reason: str = UNPROVEN) -> None:
        """What is still claimed stays SENT: nothing more is asked."""
        values = {"token": "", "reason": reason, "proof": Proof.NONE, "next_at": DUE}
        with self._database.write() as connection:
            connection.execute(update(delivery).where(_held_by(claim)).values(values))
            if reason:
                _note(connection, "delivery.unproven", claim.deliveries[0].job_id, reason)

    def found(self, claim: Unproven, item: Delivery) -> None:
        """SENT -> CONFIRMED: C-FIND has found it. Raises ``LedgerConflict``."""
        with self._database.write() as connection:
            _confirm(connection, _claimed(connection, claim, item), FOUND)

    def missed(self, claim: Unproven, item: Delivery, *, is_gone: bool) -> None:
        """C-FIND did not find it, or (not ``is_gone``) gave no answer: asked again after a pause.

        The last time it is sent again, or held; without an answer it stays SENT. Raises
        ``LedgerConflict``.
        """
        with self._database.write() as connection:
            row = _claimed(connection, claim, item)
            if row.asked + 1 >= MOST_LOOKS and is_gone:
                _lose(connection, row, NOT_FOUND, Proof.QUERY)
                return
            reason = NOT_FOUND if is_gone else "NO_ANSWER"
            values = {"token": "", "reason": reason, "asked": row.asked + 1}
            values |= put_off(FIRST_LOOK_S * 2**row.asked)
            if row.asked + 1 >= MOST_LOOKS:
                values |= {"proof": Proof.NONE, "reason": UNPROVEN, "next_at": DUE}
            connection.execute(update(delivery).where(delivery.c.id == row.id).values(values))

    def report(
        self, transaction_uid: str, committed: Collection[str], failed: Mapping[str, str]
    ) -> Reported:
        """What the archive says of a transaction: SOP Instance UIDs that it is responsible for
        -> CONFIRMED, and those that it is not, with the reason, -> READY or HELD.

        Says without a change what makes no sense, or is not new.
        """
        with self._database.write() as connection:
            query = select(delivery, result.c.kind).join(result, _same_object())
            asked = query.where(delivery.c.transaction_uid == transaction_uid).with_for_update()
            rows = {row.sop_instance_uid: row for row in connection.execute(asked)}
            if not rows or not transaction_uid:
                return Reported.UNKNOWN
            if not rows.keys() >= {*committed, *failed}:
                return Reported.NOT_ASKED
            named = [rows[uid] for uid in (*committed, *failed)]
            fresh = [row for row in named if row.state in (_SENT, _ASKED)]
            for row in fresh:
                if row.sop_instance_uid in failed:
                    _lose(connection, row, failed[row.sop_instance_uid], Proof.COMMITMENT)
                else:
                    _confirm(connection, row, row.reason if _is_warning(row.reason) else "")
            return Reported.TAKEN if fresh else Reported.TWICE


_SENT, _ASKED = DeliveryState.SENT, DeliveryState.COMMITMENT_ASKED


def _same_object() -> Any:
    return result.c.sop_instance_uid == delivery.c.sop_instance_uid


def _still_goes() -> Any:
    """Whether an object of the same shipment is yet to be sent."""
    other = delivery.alias()
    return exists().where(
        other.c.job_id == delivery.c.job_id,
        other.c.destination == delivery.c.destination,
        other.c.state.in_((DeliveryState.READY, DeliveryState.SENDING)),
    )


def _held_by(claim: Unproven) -> Any:
    return (delivery.c.token == claim.token) & (delivery.c.state == _SENT)


def _claimed(connection: Connection, claim: Unproven, item: Delivery) -> Any:
    query = select(delivery, result.c.kind).join(result, _same_object()).with_for_update()
    row = connection.execute(query.where(delivery.c.id == item.id, _held_by(claim))).first()
    if row is None:
        raise LedgerConflict(f"the claim on delivery {item.id} was lost")
    return row


def _forget_rejected(connection: Connection, job_id: str) -> None:
    """What a reader took back may be hidden by its archive, and need not be proven."""
    rejected = select(job.c.id).where(job.c.id == job_id, job.c.rejected)
    notes = select(result.c.sop_instance_uid).where(
        result.c.job_id == job_id, result.c.kind == ResultKind.REJECTION_NOTE
    )
    change = update(delivery).where(delivery.c.job_id.in_(rejected), delivery.c.state == _SENT)
    rest = change.where(delivery.c.sop_instance_uid.not_in(notes))
    connection.execute(rest.values(proof=Proof.NONE, token="", next_at=DUE))


def _end_silence(connection: Connection, of_shipment: Any) -> None:
    late = of_shipment & due(delivery.c.next_at)
    _back_to_sent(connection, late, SILENT, 0)


def _back_to_sent(connection: Connection, which: Any, reason: str, pause_s: float) -> None:
    """To be asked anew; after a few times by C-FIND."""
    enough = delivery.c.asked >= MOST_ASKED
    values = {
        "reason": reason,
        "proof": case((enough, Proof.QUERY.value), else_=delivery.c.proof),
        "asked": case((enough, 0), else_=delivery.c.asked),
        **put_off(pause_s),
    }
    connection.execute(move(_ASKED, _SENT).where(which).values(values))


def _confirm(connection: Connection, row: Any, reason: str) -> None:
    change = move(DeliveryState(row.state), DeliveryState.CONFIRMED)
    values = {"proof": Proof.NONE, "token": "", "reason": reason, "next_at": DUE}
    connection.execute(change.where(delivery.c.id == row.id).values(values))
    _note(connection, "delivery.confirmed", row.job_id, reason)


def _is_warning(reason: str) -> bool:
    """Of C-STORE."""
    return reason.startswith("STATUS_")


def _lose(connection: Connection, row: Any, reason: str, by: Proof) -> None:
    """The archive took it, and does not have it: sent again, or held."""
    lost = row.lost + 1
    after = DeliveryState.HELD if lost >= MOST_LOST[by] else DeliveryState.READY
    values = {"proof": Proof.NONE, "asked": 0, "lost": lost, "token": "", "reason": reason}
    values |= put_off(FIRST_PAUSE_S * 2**lost if after is DeliveryState.READY else 0)
    change = move(DeliveryState(row.state), after).where(delivery.c.id == row.id)
    connection.execute(change.values(values))
    if row.kind in REPORT_FORMS:
        choose_form(connection, row.job_id, row.destination, ResultKind(row.kind), after)
    _note(connection, f"delivery.{after.lower()}", row.job_id, reason)


def _study(connection: Connection, job_id: str) -> str:
    return str(connection.scalar(select(job.c.study_instance_uid).where(job.c.id == job_id)))


def _note(connection: Connection, action: str, job_id: str, reason: str = "") -> None:
    events.write(connection, _study(connection, job_id), action, job_id=job_id, reason=reason)

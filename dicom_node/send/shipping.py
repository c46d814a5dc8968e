"""Shipping: what a job still owes a destination, in order, from the ledger's rows."""

from dataclasses import replace

from dicom_node import faults
from dicom_node.domain.delivery import Delivery, Proof
from dicom_node.domain.errors import PeerUnreachable
from dicom_node.ledger import Ledger, Shipment
from dicom_node.observe import log
from dicom_node.send.cstore import Answer, Outcome, Peer, answer_of, send
from dicom_node.settings.results import Destination
from dicom_node.store import InstanceStore

MAX_REFUSALS = 3
"""Of one object in a row, before it is held. Tries that found no peer are none, nor are those of an
object that went before it."""
BEHIND = "BEHIND"
STATUS = "STATUS_"


def ship(
    shipment: Shipment,
    destination: Destination,
    calling_ae: str,
    ledger: Ledger,
    store: InstanceStore,
) -> None:
    """Send the claimed objects in order and write what became of each.

    What has to wait makes the later objects wait too, for they may refer to it; what is held does
    not. What is not stored as it was made is held (ALTERED).
    """
    peer = Peer(destination.host, destination.port, destination.ae_title, calling_ae)
    reason = ""
    faults.point("ship.claimed")
    waiting = [d for d in shipment.deliveries if _is_sound(shipment, d, ledger, store)]
    try:
        for outcome in send(peer, [store.path(d.result.sha256) for d in waiting]):
            faults.point("ship.answered")
            reason = outcome.reason
            if _must_wait(outcome, waiting[0]):
                if outcome.answer is Answer.REFUSED:
                    _postpone(shipment, _refused(waiting.pop(0)), reason, ledger)
                    reason = BEHIND
                break
            _settle(shipment, waiting.pop(0), outcome, ledger, destination.to_prove)
    except PeerUnreachable as error:
        reason = error.code
    for delivery in waiting:
        _postpone(shipment, delivery, reason, ledger)


def _postpone(shipment: Shipment, delivery: Delivery, reason: str, ledger: Ledger) -> None:
    ledger.deliveries.postpone(shipment, delivery, reason)
    _tell(delivery, "delivery.postponed", reason)


def _refused(delivery: Delivery) -> Delivery:
    """A delivery that the peer refused once more; its ``attempt`` counts the refusals in a row."""
    status = delivery.reason.removeprefix(STATUS)
    again = status != delivery.reason and answer_of(int(status, 16)) is Answer.REFUSED
    return delivery if again else replace(delivery, attempt=1)


def _is_sound(shipment: Shipment, delivery: Delivery, ledger: Ledger, store: InstanceStore) -> bool:
    if store.made(delivery.result.sha256, delivery.result.size_bytes).is_as_expected:
        return True
    ledger.deliveries.hold(shipment, delivery, "ALTERED")
    _tell(delivery, "delivery.held", "ALTERED")
    return False


def _must_wait(outcome: Outcome, delivery: Delivery) -> bool:
    """No answer, a passing trouble, or a refusal that has not come often enough to be final."""
    if outcome.answer is Answer.REFUSED:
        return _refused(delivery).attempt < MAX_REFUSALS
    return outcome.answer is Answer.TRY_LATER


def _settle(
    shipment: Shipment, delivery: Delivery, outcome: Outcome, ledger: Ledger, proof: Proof
) -> None:
    arrived = outcome.answer is Answer.SENT
    if arrived:
        ledger.deliveries.sent(shipment, delivery, outcome.reason, proof)
    else:
        ledger.deliveries.hold(shipment, delivery, outcome.reason)
    faults.point("ship.settled")
    _tell(delivery, "delivery.sent" if arrived else "delivery.held", outcome.reason)


def _tell(delivery: Delivery, event: str, reason: str) -> None:
    log("deliver").info(
        event,
        job=delivery.job_id,
        destination=delivery.destination,
        kind=delivery.result.kind.value,
        sop=delivery.result.sop_instance_uid,
        reason=reason,
    )

"""Storage Commitment SCU, and C-FIND where a peer does not take it (PS3.4 Annex J, IHE RAD-10)."""

import threading
from collections.abc import Callable, Collection
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_node import faults
from dicom_node.domain.delivery import UNPROVEN, Delivery, Proof, ResultKind
from dicom_node.domain.errors import PeerUnreachable
from dicom_node.ledger import Ledger
from dicom_node.ledger.commitments import Unproven
from dicom_node.observe import log
from dicom_node.send.cstore import NothingAccepted, Outgoing, Peer
from dicom_node.send.query import STUDY_ROOT_FIND, has_instance

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
CLASSES = {Proof.COMMITMENT: (PUSH_MODEL, STUDY_ROOT_FIND), Proof.QUERY: (STUDY_ROOT_FIND,)}
"""What a peer is offered, by what it is to be asked."""
ANSWER_TIMEOUT_S = 30.0
REPORT_WAIT_S = 1.0
"""For a report on the association of the question; a later one finds our listener."""
Report = Callable[[Event], Any]
"""Takes an N-EVENT-REPORT; status and reply."""


def offers(peer: Peer) -> frozenset[Proof]:
    """What a peer takes. Raises ``PeerUnreachable``."""
    try:
        with Outgoing(peer, _contexts(Proof.COMMITMENT)) as association:
            return _offered(association)
    except NothingAccepted:
        return frozenset()


def prove(
    unproven: Unproven, peer: Peer, ledger: Ledger, take_report: Report, offer: Proof
) -> None:
    """Ask a peer for what it was sent, and write what it says.

    ``take_report``: for a report that comes at once; ``offer``: where it may begin. Raises
    ``LedgerConflict``.
    """
    faults.point("prove.claimed")
    reporting = _Reporting(take_report)
    try:
        with Outgoing(
            peer,
            _contexts(offer),
            dimse_timeout_s=ANSWER_TIMEOUT_S,
            handlers=reporting.handlers,
        ) as association:
            offered = _offered(association)
            if Proof.COMMITMENT in offered:
                _ask(association, unproven, ledger, reporting)
            elif Proof.QUERY in offered:
                _look(association, unproven, ledger)
            else:
                _give_up(unproven, ledger)
    except NothingAccepted:
        _give_up(unproven, ledger)
    except (PeerUnreachable, RuntimeError) as error:  # RuntimeError: it broke off
        reason = getattr(error, "code", "NO_ANSWER")
        ledger.commitments.postpone(unproven, reason)
        _tell("proof.postponed", unproven, reason)


def _contexts(by: Proof) -> list[Any]:
    return [build_context(uid) for uid in CLASSES[by]]


def _offered(association: Association) -> frozenset[Proof]:
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    classes = {Proof.COMMITMENT: PUSH_MODEL, Proof.QUERY: STUDY_ROOT_FIND}
    return frozenset(proof for proof, uid in classes.items() if uid in accepted)


class _Reporting:
    """What of a report comes on the association of the question."""

    def __init__(self, take_report: Report) -> None:
        self._take_report = take_report
        self._begun, self._taken, self._answered = (threading.Event() for _ in range(3))
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._take), (evt.EVT_PDU_SENT, self._sent)]

    def wait(self) -> None:
        """Until a report that comes soon has been answered."""
        if self._begun.wait(REPORT_WAIT_S):
            self._answered.wait(ANSWER_TIMEOUT_S)

    def _take(self, event: Event) -> Any:
        self._begun.set()
        try:
            return self._take_report(event)
        finally:
            self._taken.set()

    def _sent(self, _: Event) -> None:
        if self._taken.is_set():
            self._answered.set()


def _ask(
    association: Association, unproven: Unproven, ledger: Ledger, reporting: _Reporting
) -> None:
    transaction_uid = ledger.commitments.ask(unproven)
    faults.point("prove.asking")
    question = request(transaction_uid, unproven.deliveries)
    try:
        status, _ = association.send_n_action(
            question, REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except RuntimeError:  # the association ended meanwhile: it may have heard us
        status = Dataset()
    faults.point("prove.asked")
    answer = status.get("Status")
    if answer:
        reason = f"COMMITMENT_{answer:04X}"
        ledger.commitments.refused(transaction_uid, reason)
        _tell("proof.refused", unproven, reason)
        return
    _tell("proof.asked", unproven, "" if answer == 0 else "NO_ANSWER", transaction_uid)
    if answer == 0:
        reporting.wait()


def request(transaction_uid: str, deliveries: Collection[Delivery]) -> Dataset:
    """Action Information of a request (PS3.4 Table J.3-2)."""
    data = Dataset()
    data.TransactionUID = transaction_uid
    data.ReferencedSOPSequence = [_reference(delivery) for delivery in deliveries]
    return data


def _reference(delivery: Delivery) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = delivery.result.sop_class_uid
    item.ReferencedSOPInstanceUID = delivery.result.sop_instance_uid
    return item


def _look(association: Association, unproven: Unproven, ledger: Ledger) -> None:
    if any(d.result.kind is ResultKind.REJECTION_NOTE for d in unproven.deliveries):
        _give_up(unproven, ledger)  # archives may act on a note, and hide it
        return
    for delivery in unproven.deliveries:
        result = delivery.result
        uids = (unproven.study_instance_uid, result.series_instance_uid, result.sop_instance_uid)
        has = has_instance(association, *uids)
        faults.point("prove.looked")
        if has:
            ledger.commitments.found(unproven, delivery)
        else:
            ledger.commitments.missed(unproven, delivery, is_gone=has is False)
        _tell("proof.found" if has else "proof.missed", unproven, sop=result.sop_instance_uid)


def _give_up(unproven: Unproven, ledger: Ledger) -> None:
    ledger.commitments.give_up(unproven)
    _tell("proof.none", unproven, UNPROVEN)


def _tell(event: str, unproven: Unproven, reason: str = "", uid: str = "", sop: str = "") -> None:
    about = {"transaction": uid, "sop": sop}
    log("deliver").info(
        event,
        job=unproven.deliveries[0].job_id,
        destination=unproven.destination,
        count=len(unproven.deliveries),
        reason=reason,
        **{name: value for name, value in about.items() if value},
    )

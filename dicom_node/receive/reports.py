"""Storage Commitment reports: what an archive says of what it was sent (PS3.4 section J.3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from dicom_node import faults
from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.ledger.commitments import Reported
from dicom_node.observe import log
from dicom_node.receive.admission import asks_for, storage_classes
from dicom_node.receive.negotiation import Request
from dicom_node.receive.reading import (
    FAILURE,
    RESOURCES,
    SUCCESS,
    NoticeReader,
    NoticeRefused,
    valid_uid,
)
from dicom_node.send.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

NO_SUCH_INSTANCE, NO_SUCH_EVENT, INVALID_ARGUMENT = 0x0112, 0x0113, 0x0115
"""PS3.7 section 10.1.1.1.8."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs (PS3.4 Table J.3-3)."""


@dataclass(frozen=True, slots=True)
class Said:
    """A report whose every UID is one."""

    transaction: str
    committed: frozenset[str]
    failed: dict[str, str]
    """SOP Instance UID -> reason code."""


def reports(request: Request) -> bool:
    """Whether a peer asks for an association to report by.

    Modalities that want us to commit ask for the same SOP class, mostly beside what they store; a
    reporter says that it is the SCP, or stores nothing.
    """
    if not asks_for(request.contexts, [PUSH_MODEL]):
        return False
    roles = [
        item
        for item in request.primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid == PUSH_MODEL
    ]
    if roles:
        return any(role.scp_role for role in roles)
    return not asks_for(request.contexts, list(storage_classes()))


class Reports:
    """Takes reports, of the listener's associations and of our own; for any thread.

    ``sender``: the fields of a log line that say who reports.
    """

    def __init__(
        self, ledger: Ledger, reader: NoticeReader, sender: Callable[[Event], dict[str, Any]]
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._sender = sender
        self._log = log("proof")

    def on_report(self, event: Event) -> tuple[int, None]:
        """N-EVENT-REPORT: the status of the answer."""
        try:
            self._take(event)
        except NoticeRefused as refusal:
            return self._refuse(event, refusal.code, refusal.status), None
        except LedgerBusy as busy:
            return self._refuse(event, busy.code, RESOURCES), None
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            self._log.error("listen.failed", reason="INTERNAL", exc_info=error)
            return self._refuse(event, "INTERNAL", FAILURE), None
        faults.point("report.taken")
        return SUCCESS, None

    def _refuse(self, event: Event, code: str, status: int) -> int:
        self._log.warning(
            "report.reject", reason=code, status=f"{status:04X}", **self._sender(event)
        )
        return status

    def _take(self, event: Event) -> None:
        request: Any = event.request
        if str(request.AffectedSOPInstanceUID) != PUSH_MODEL_INSTANCE:
            raise _refused("it is of another instance", "REPORT_INSTANCE", NO_SUCH_INSTANCE)
        if request.EventTypeID not in (ALL_COMMITTED, SOME_FAILED):
            raise _refused("there is no such event", "REPORT_EVENT", NO_SUCH_EVENT)
        raw = request.EventInformation.getvalue() if request.EventInformation else b""
        said = self._read(event, raw)
        if said.failed and request.EventTypeID == ALL_COMMITTED:
            raise _refused("all are committed, and some are not", "REPORT_CONTRADICTS")
        done = self._ledger.commitments.report(said.transaction, said.committed, said.failed)
        if done in (Reported.UNKNOWN, Reported.NOT_ASKED):
            raise _refused("nobody asked for that", f"REPORT_{done}")
        self._log.info(
            "report.taken",
            reason="DUP_SAME" if done is Reported.TWICE else "",
            transaction=said.transaction,
            count=len(said.committed),
            **self._sender(event),
        )

    def _read(self, event: Event, raw: bytes) -> Said:
        said = self._reader.read("report", event.context.transfer_syntax, raw)
        if not said["transaction"] or not (said["committed"] or said["failed"]):
            raise _refused("it names no transaction, or no instance", "UID_MISSING")
        failed = {_uid(uid): f"COMMITMENT_{reason & 0xFFFF:04X}" for uid, reason in said["failed"]}
        committed = frozenset(map(_uid, said["committed"]))
        if committed & failed.keys():
            raise _refused("an instance is committed and is not", "REPORT_CONTRADICTS")
        return Said(_uid(said["transaction"]), committed, failed)


def _uid(text: str) -> str:
    return valid_uid(text, INVALID_ARGUMENT)


def _refused(message: str, code: str, status: int = INVALID_ARGUMENT) -> NoticeRefused:
    return NoticeRefused(message, code=code, status=status)

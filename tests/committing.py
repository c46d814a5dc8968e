"""An archive that commits, or does not, as a test wants, and finds what it is said to have."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.redis_server import free_port
from dicom_node.send.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.send.cstore import Peer
from dicom_node.send.query import STUDY_ROOT_FIND

PENDING, SUCCESS = 0xFF00, 0x0000
Failed = dict[str, int]
"""SOP Instance UID -> failure reason."""


@dataclass
class Archive:
    """What it was asked, and how it answers."""

    title: str = "ARCHIVE"
    port: int = field(default_factory=free_port)
    takes_commitment: bool = True
    takes_find: bool = True
    answer: int = SUCCESS
    """To N-ACTION."""
    failed: Callable[[str], int] = lambda _: 0
    """Failure reason by SOP Instance UID; 0: committed."""
    same_association: bool = True
    silent: bool = False
    has: set[str] = field(default_factory=set)
    """What C-FIND finds."""
    asked: list[Dataset] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of the answers to reports."""
    status_of_find: int = SUCCESS

    @property
    def peer(self) -> Peer:
        """Where it is."""
        return Peer("127.0.0.1", self.port, self.title, "NODE")

    def on_action(self, event: Event) -> tuple[int, None]:
        """N-ACTION; the report follows."""
        self.asked.append(event.action_information)
        if self.answer == SUCCESS and self.same_association and not self.silent:
            threading.Thread(target=self._report_on, args=[event.assoc], daemon=True).start()
        return self.answer, None

    def _report_on(self, association: Any) -> None:
        status, _ = association.send_n_event_report(*self.report(self.asked[-1]))
        self.statuses.append(status.get("Status"))

    def report(self, asked: Dataset) -> tuple[Dataset, int, str, str]:
        """Arguments of an N-EVENT-REPORT that answers."""
        data = Dataset()
        data.TransactionUID = asked.TransactionUID
        failed, committed = [], []
        for item in asked.ReferencedSOPSequence:
            reason = self.failed(item.ReferencedSOPInstanceUID)
            if reason:
                item.FailureReason = reason
            (failed if reason else committed).append(item)
        if committed or not failed:
            data.ReferencedSOPSequence = committed
        if failed:
            data.FailedSOPSequence = failed
        return data, 2 if failed else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE

    def on_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """At IMAGE level."""
        uid = str(event.identifier.SOPInstanceUID)
        assert event.identifier.QueryRetrieveLevel == "IMAGE"
        self.looked.append(uid)
        if uid in self.has:
            yield PENDING, event.identifier
        yield self.status_of_find, None


@contextmanager
def running(archive: Archive) -> Iterator[Archive]:
    """Serve while the block runs."""
    entity = AE(archive.title)
    entity.add_supported_context(Verification)
    if archive.takes_commitment:
        entity.add_supported_context(PUSH_MODEL)
    if archive.takes_find:
        entity.add_supported_context(STUDY_ROOT_FIND)
    handlers = [
        (evt.EVT_N_ACTION, archive.on_action),
        (evt.EVT_C_FIND, archive.on_find),
    ]
    server = entity.start_server(("127.0.0.1", archive.port), block=False, evt_handlers=handlers)
    try:
        yield archive
    finally:
        server.shutdown()


def send_report(
    port: int, data: Dataset, event_type: int = 1, instance: str = PUSH_MODEL_INSTANCE,
    *, role: bool | None = True, title: str = "ARCHIVE", called: str = "DICOM_NODE",
) -> int | None:  # fmt: skip
    """Report on an association of its own, as the SCP (``role``: it says so, says the contrary, or
    nothing); the status, none: no association or no context."""
    entity = AE(title)
    entity.add_requested_context(PUSH_MODEL)
    roles = [] if role is None else [build_role(PUSH_MODEL, scu_role=not role, scp_role=role)]
    association = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=roles)
    if not association.is_established:
        return None
    for context in association.accepted_contexts:
        context._as_scp = True  # whatever it has said
    try:
        status, _ = association.send_n_event_report(data, event_type, PUSH_MODEL, instance)
    finally:
        association.release()
    return int(status.Status) if "Status" in status else None

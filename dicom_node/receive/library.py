"""Associations that pynetdicom serves: other services than storage, and all with the fast path off.

The library gets one end of a socket pair. What passes through it are whole PDUs under our caps
and deadlines, for the connection to the peer stays ours, TLS included (see ``relay``).
"""

import asyncio
import queue
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from pynetdicom import AE, build_context, evt
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node import faults
from dicom_node.decoders import NATIVE
from dicom_node.domain.errors import InvalidUID, Refused
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.receive.admission import begins_with_meta, check_command, supported_contexts
from dicom_node.receive.arriving import Acceptor, Arriving, sender_of
from dicom_node.receive.connection import MAX_PDU, Connection
from dicom_node.receive.dataset import Identity, checked_uid, identify
from dicom_node.receive.dimse import Command
from dicom_node.receive.incoming import Incoming, Room
from dicom_node.receive.negotiation import (
    REMEMBERED,
    Request,
    Syntax,
    accept,
    read_request,
    refused,
)
from dicom_node.receive.notices import CLASSES, Notices
from dicom_node.receive.packs import Packs
from dicom_node.receive.parties import whose
from dicom_node.receive.reading import NoticeReader
from dicom_node.receive.relay import Relay
from dicom_node.receive.reports import Reports, reports
from dicom_node.receive.spool import Spool
from dicom_node.send.commitment import PUSH_MODEL
from dicom_node.settings.completeness import Notice
from dicom_node.settings.listen import Listen

SUCCESS, INTERNAL = 0x0000, 0x0110
ENDING_S = 5.0
"""For an association whose connection is gone."""


class Library:
    """Starts an association of pynetdicom behind a connection of ours."""

    def __init__(
        self,
        settings: Listen,
        spool: Spool,
        packs: Packs,
        room: Room,
        ledger: Ledger,
        *,
        expect: Sequence[Notice],
        proves: bool,
        refusal: Callable[[], Refused | None],
        kept: Callable[[], None],
    ) -> None:
        """``proves``: whether archives report to us. ``room`` is what all associations of the
        listener may collect in memory; ``kept`` is called whenever the spool was asked to keep
        something.
        """
        self._settings = settings
        self._kept = kept
        self._spool = spool
        self._packs = packs
        self._room = room
        self._refusal = refusal
        self._reader = NoticeReader()
        self._notices = Notices(ledger, self._reader, refusal)
        self._reports = Reports(ledger, self._reader, sender_of)
        self._contexts = supported_contexts([CLASSES[name] for name in expect])
        self._of_reporter = [*self._contexts, _report_context()] if proves else self._contexts
        self._accepted = lru_cache(REMEMBERED)(
            lambda asked: accept(asked, self._supported(asked), MAX_PDU).accepted
        )
        """What the library will accept."""
        self._live: dict[Acceptor, socket.socket] = {}
        """The associations, each with its end of the socket pair."""
        self._log = log("listen")
        self._entity = AE(settings.ae_title)
        self._entity.supported_contexts = self._contexts
        self._entity.maximum_pdu_size = MAX_PDU
        self._entity.maximum_associations = settings.max_associations
        self._entity.network_timeout = 120
        self._entity.acse_timeout = 10
        self._entity.dimse_timeout = 120

    def stop(self) -> None:
        """End what is left of the associations, and the process that reads notices."""
        for association, end in list(self._live.items()):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            association.join(ENDING_S)
        self._reader.close()

    def _supported(self, request: Request) -> list[PresentationContext]:
        return self._of_reporter if reports(request) else self._contexts

    def relay(
        self, loop: asyncio.AbstractEventLoop, connection: Connection, request: bytes
    ) -> Callable[[bytes], None]:
        """Start an association for a peer whose request is here; returns where its PDUs go."""
        ours, theirs = socket.socketpair()
        asked = read_request(request)
        contexts = self._accepted(asked)
        association = self._association(theirs, connection, contexts)
        association.acceptor.supported_contexts = self._supported(asked)
        association.start()
        refuse = partial(self._refused, connection)
        return Relay(loop, ours, connection, contexts, refuse).start(request)

    def _association(
        self, end: socket.socket, connection: Connection, contexts: Mapping[int, Syntax]
    ) -> Acceptor:
        association = Acceptor(self._entity, connection, self._ended)
        association.set_socket(AssociationSocket(association, client_socket=end))
        incoming = Incoming(self._packs, room=self._room)
        association.dimse = Arriving(association, incoming, contexts, self._refusal)
        self._live[association] = end
        acceptor = association.acceptor
        acceptor.maximum_length = MAX_PDU
        acceptor.ae_title = self._settings.ae_title
        acceptor.address_info = AddressInformation(self._settings.host, self._settings.port)
        association.requestor.address_info = AddressInformation(connection.peer, 0)
        association.bind(evt.EVT_ACCEPTED, self._on_accepted)
        association.bind(evt.EVT_C_STORE, self._on_store)
        association.bind(evt.EVT_C_ECHO, lambda _: SUCCESS)
        association.bind(evt.EVT_N_CREATE, self._notices.on_create)
        association.bind(evt.EVT_N_SET, self._notices.on_set)
        association.bind(evt.EVT_N_EVENT_REPORT, self._reports.on_report)
        return association

    def _ended(self, association: Acceptor) -> None:
        """Its connection is closed with it, if the library did not."""
        with suppress(OSError):
            self._live.pop(association).close()

    def _on_accepted(self, event: Event) -> None:
        for code, names in refused(event.assoc.rejected_contexts).items():
            self._log.warning("assoc.note", reason=code, sop_classes=names, **sender_of(event))

    def _on_store(self, event: Event) -> int:
        incoming = _incoming(event)
        try:
            self._keep(event, incoming)
        except Refused as refusal:
            self._note(event, "store.reject", refusal.code, refusal.status)
            return refusal.status
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            self._log.error("listen.failed", reason="INTERNAL", exc_info=error)
            self._note(event, "store.reject", "INTERNAL", INTERNAL)
            return INTERNAL
        finally:
            incoming.discard()
        faults.point("door.answering")
        return SUCCESS

    def _keep(self, event: Event, incoming: Incoming) -> None:
        """Keep the instance of a C-STORE; on return it may be acknowledged."""
        if refusal := incoming.refusal or (None if incoming.size else self._refusal()):
            raise refusal.with_traceback(None)  # it is raised again and again
        faults.point("door.received")
        identity = self._identify(event, incoming)
        faults.point("door.checked")
        answers: queue.SimpleQueue[Refused | None] = queue.SimpleQueue()
        calling_ae = event.assoc.requestor.ae_title.strip()
        try:
            ticket = self._spool.keep(identity, calling_ae, incoming, answers.put)
            ticket.settle()
            if not ticket.safe and (failure := answers.get()):
                raise failure
        finally:
            self._kept()

    def _identify(self, event: Event, incoming: Incoming) -> Identity:
        request: Any = event.request
        syntax = event.context.transfer_syntax
        encoding = {"implicit": syntax.is_implicit_VR, "little": syntax.is_little_endian}
        with incoming.data_set() as data:
            identity = identify(data, str(syntax), **encoding)
            notes = {"UID_PADDED": identity.padded, "GROUP2": begins_with_meta(data)}
        named = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        check_command(identity, *(checked_uid(str(uid).encode()) for uid in named))
        for code in (code for code, holds in notes.items() if holds):
            self._note(event, "store.note", code, SUCCESS)
        return identity

    def _refused(
        self, connection: Connection, refusal: Refused, command: Command, size: int
    ) -> None:
        """What the library did not see."""
        about = {"bytes": size, **whose(connection)}
        named = _instance(command.sop_instance)
        self._tell("store.reject", refusal.code, refusal.status, **about, **named)

    def _note(self, event: Event, name: str, code: str, status: int) -> None:
        request: Any = event.request
        self._tell(
            name,
            code,
            status,
            bytes=_incoming(event).size,
            **sender_of(event),
            **_instance(str(request.AffectedSOPInstanceUID).encode()),
        )

    def _tell(self, name: str, code: str, status: int, **about: Any) -> None:
        tell = self._log.warning if status else self._log.info
        tell(name, reason=code, status=f"{status:04X}", **about)


def _report_context() -> PresentationContext:
    """Its requestor may say that it is the SCP, or nothing (PS3.4 section J.3.3)."""
    context = build_context(PUSH_MODEL, [*NATIVE])
    context.scu_role = context.scp_role = True
    return context


def _incoming(event: Event) -> Incoming:
    arriving: Any = event.assoc.dimse
    incoming: Incoming = arriving.incoming
    return incoming


def _instance(raw: bytes) -> dict[str, str]:
    """Of a log line, where it is valid."""
    try:
        return {"sop": checked_uid(raw)}
    except InvalidUID:
        return {}

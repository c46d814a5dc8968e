"""The fast path: C-STORE and C-ECHO of an established association, read from their bytes.

pynetdicom's general path costs a state machine event, an object and two thread hops for each
P-DATA, and decodes each command as a data set. Here fragments go to the spool as they come.
"""

from collections.abc import Callable, Mapping
from struct import unpack_from
from typing import Protocol

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused, UnreadableDataset
from dicom_node.receive import dimse
from dicom_node.receive.admission import begins_with_meta, check_command, check_context
from dicom_node.receive.connection import Connection
from dicom_node.receive.dataset import Identity, checked_uid, identify
from dicom_node.receive.dimse import Command
from dicom_node.receive.head import Head
from dicom_node.receive.incoming import Incoming
from dicom_node.receive.negotiation import Syntax
from dicom_node.receive.parties import ProtocolError
from dicom_node.receive.spool import Ticket

MOST_COMMAND_BYTES = 16 << 10
MOST_FRAGMENTS = 16
"""In one PDU, in which senders put one or two."""
IS_COMMAND, IS_LAST = 1, 2


class Keeper(Protocol):
    """Who keeps what was received; the spool, with the listener's health."""

    def refusal(self) -> Refused | None:
        """Why nothing is taken at present; none: all is well."""

    def keep(
        self,
        identity: Identity,
        calling_ae: str,
        incoming: Incoming,
        done: Callable[[Refused | None], None],
    ) -> Ticket:
        """See ``spool.Spool``; ``done`` is called in the connection's own thread."""

    def failed(self, connection: Connection, error: Exception) -> None:
        """Something of ours went wrong."""

    def note(
        self, connection: Connection, event: str, code: str, *, status: int, size: int, sop: str
    ) -> None:
        """Write a line to the log; ``sop`` is empty where the command names no valid instance."""


class StoreScp:
    """Serves one association."""

    def __init__(
        self,
        connection: Connection,
        contexts: Mapping[int, Syntax],
        incoming: Incoming,
        keeper: Keeper,
    ) -> None:
        self._connection = connection
        self._contexts = contexts
        self._incoming = incoming
        self._keeper = keeper
        self._raw = bytearray()
        self._context = 0
        """Of the message that is coming; all of it comes on one (PS3.8 annex E)."""
        self._command: Command | None = None
        """The C-STORE-RQ whose data set is coming."""
        self._uids = ("", "")
        """SOP class and instance that it names."""
        self._has_meta = False
        self._head: Head | None = None
        """Of a data set in several fragments."""

    def data(self, body: memoryview) -> None:
        """See ``connection.Service``."""
        position, end, left = 0, len(body), MOST_FRAGMENTS
        while position < end:
            left -= 1
            if position + 6 > end or left < 0:
                raise ProtocolError("BAD_PDV", 6)
            length, context, control = unpack_from(">IBB", body, position)
            begin, position = position + 6, position + 4 + length
            if length < 2 or position > end:
                raise ProtocolError("BAD_PDV", 6)
            if context not in self._contexts:
                raise ProtocolError("BAD_CONTEXT", 6)
            self._fragment(body[begin:position], context, control)

    def lost(self) -> None:
        """See ``connection.Service``."""
        self._incoming.discard()
        self._incoming.let_go()

    def _fragment(self, fragment: memoryview, context: int, control: int) -> None:
        if control & IS_COMMAND:
            if not self._raw:
                self._context = context
            elif context != self._context:
                raise ProtocolError("BAD_CONTEXT", 6)
            self._raw += fragment
            if self._command is not None or len(self._raw) > MOST_COMMAND_BYTES:
                raise ProtocolError("BAD_STATE", 2)
            if control & IS_LAST:
                self._begin(context)
        elif self._command is None:
            raise ProtocolError("BAD_STATE", 2)
        elif context != self._context:
            raise ProtocolError("BAD_CONTEXT", 6)
        else:
            self._take(fragment, self._command, context, last=bool(control & IS_LAST))

    def _take(self, fragment: memoryview, command: Command, context: int, *, last: bool) -> None:
        if not self._incoming.size:
            self._has_meta = begins_with_meta(fragment)
            syntax = self._contexts[context]
            if not last:
                self._head = Head(fragment, implicit=syntax.implicit, little=syntax.little)
        elif self._head is not None:
            self._head.more(fragment)
        is_known = self._head is not None and self._head.is_enough
        self._incoming.write(fragment, last=last, is_known=is_known)
        if last:
            self._finish(command, context)

    def _begin(self, context: int) -> None:
        try:
            command = dimse.read_command(bytes(self._raw))
        except ValueError:
            raise ProtocolError("BAD_COMMAND", 6) from None
        self._raw.clear()
        if command.field == dimse.C_ECHO_RQ:
            self._connection.send(dimse.echo_response(command, context))
        elif command.field != dimse.C_STORE_RQ:
            raise ProtocolError("BAD_COMMAND", 2)
        else:
            self._receive(command, context)

    def _receive(self, command: Command, context: int) -> None:
        """Prepare for the data set; what is wrong already is answered once it has come."""
        refusal = self._keeper.refusal()
        self._head, self._uids = None, ("", "")
        try:
            self._uids = "", checked_uid(command.sop_instance)
            self._uids = checked_uid(command.sop_class), self._uids[1]
            check_context(self._uids[0], self._contexts[context].abstract)
        except Refused as error:
            refusal = error
        self._incoming.begin(*self._uids, self._contexts[context].transfer)
        self._incoming.refusal = refusal
        if command.has_data_set:
            self._command = command
        else:
            empty = UnreadableDataset("there is no data set", code="NO_DATASET")
            self._refuse(command, context, refusal or empty)

    def _finish(self, command: Command, context: int) -> None:
        self._command = None
        faults.point("door.received")
        try:
            identity = self._identify(context)
            faults.point("door.checked")
            done = self._when_done(command, context)
            calling_ae = self._connection.calling_ae
            ticket = self._keeper.keep(identity, calling_ae, self._incoming, done)
        except Refused as refusal:
            self._refuse(command, context, refusal)
            return
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            self._keeper.failed(self._connection, error)
            self._refuse(command, context, ProcessingFailure("a fault of ours", code="INTERNAL"))
            return
        if identity.padded:
            self._note("store.note", "UID_PADDED", 0)
        if self._has_meta:
            self._note("store.note", "GROUP2", 0)
        if ticket.safe:
            self._connection.send(dimse.store_response(command, context, 0))
            faults.point("door.answered")
        else:
            self._connection.wait()
        ticket.settle()

    def _identify(self, context: int) -> Identity:
        if self._incoming.refusal is not None:
            raise self._incoming.refusal
        identity = self._checked(self._contexts[context])
        check_command(identity, *self._uids)
        return identity

    def _checked(self, syntax: Syntax) -> Identity:
        head = self._head
        if head is not None and head.is_all(self._incoming.size):
            return head.identify(None, syntax.transfer)
        with self._incoming.data_set() as data:
            if head is not None:
                return head.identify(data, syntax.transfer)
            return identify(data, syntax.transfer, implicit=syntax.implicit, little=syntax.little)

    def _when_done(self, command: Command, context: int) -> Callable[[Refused | None], None]:
        def done(refusal: Refused | None) -> None:
            status = refusal.status if refusal else 0
            if refusal:
                self._note("store.reject", refusal.code, status)
            faults.point("door.answering")
            self._connection.answer(dimse.store_response(command, context, status))
            faults.point("door.answered")

        return done

    def _refuse(self, command: Command, context: int, refusal: Refused) -> None:
        self._note("store.reject", refusal.code, refusal.status)
        self._incoming.discard()
        self._connection.send(dimse.store_response(command, context, refusal.status))
        if isinstance(refusal, OutOfSpace) and refusal.code == "INSTANCE_SIZE":
            self._connection.abort("INSTANCE_SIZE", 0)

    def _note(self, event: str, code: str, status: int) -> None:
        size, sop = self._incoming.size, self._uids[1]
        self._keeper.note(self._connection, event, code, status=status, size=size, sop=sop)

"""Passes whole PDUs between a peer and the library, one message at a time, under limits.

pynetdicom keeps what it is sent in memory, and queues every message until it has time. So the next
PDU is read only when the last has been taken, and the next message only when the last has been
answered, as every association without an asynchronous window must (PS3.7 section D.3.3.3).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from struct import unpack_from

from dicom_node.domain.errors import OutOfSpace, Refused
from dicom_node.receive import dimse
from dicom_node.receive.admission import check_context
from dicom_node.receive.connection import HEADER, P_DATA_TF, Connection, State
from dicom_node.receive.dataset import checked_uid
from dicom_node.receive.dimse import Command
from dicom_node.receive.incoming import MOST_BYTES
from dicom_node.receive.negotiation import Syntax
from dicom_node.receive.parties import ProtocolError
from dicom_node.receive.store_scp import (
    IS_COMMAND,
    IS_LAST,
    MOST_COMMAND_BYTES,
    MOST_FRAGMENTS,
)

A_RELEASE_RQ = 5
N_EVENT_REPORT_RQ, N_SET_RQ, N_CREATE_RQ = 0x0100, 0x0120, 0x0140
NOTICES = (N_EVENT_REPORT_RQ, N_SET_RQ, N_CREATE_RQ)
MOST_NOTICE_BYTES = 4 << 20
"""Enough to name some 25,000 instances."""
LIMITS = {
    dimse.C_ECHO_RQ: 0,
    dimse.C_STORE_RQ: MOST_BYTES,
    **dict.fromkeys(NOTICES, MOST_NOTICE_BYTES),
}
"""The commands that pass, and how large a data set each may bring."""
MOST_HELD = 64 << 10
Refuse = Callable[[Refused, Command, int], None]
"""Notes why a message does not pass, its command and the size of its data set."""


class Messages:
    """Follows the messages of one association without keeping their data sets."""

    def __init__(self, contexts: Mapping[int, Syntax]) -> None:
        self._contexts = contexts
        self._raw = bytearray()
        self._is_open = False
        """Whether the data set of the command is coming."""
        self.context = 0
        self.command: Command | None = None
        """Of the latest message."""
        self.size = 0
        """Of what came of its data set."""
        self.refusal: Refused | None = None
        """Of a C-STORE to which the library gives no answer that is understood."""

    @property
    def is_in_command(self) -> bool:
        """Whether a part of a command is here, and the rest of it is not."""
        return bool(self._raw)

    def completes(self, body: memoryview) -> bool:
        """Whether a P-DATA-TF body is the end of a message.

        Raises ``ProtocolError`` for what is none, for a command that does not pass, for a data set
        that is too large, and for a message that begins before the last was answered.
        """
        position, complete, left = 0, False, MOST_FRAGMENTS
        while position < len(body):
            left -= 1
            if position + HEADER > len(body) or left < 0:
                raise ProtocolError("BAD_PDV", 6)
            length, context, control = unpack_from(">IBB", body, position)
            begin, position = position + HEADER, position + 4 + length
            if length < 2 or position > len(body):
                raise ProtocolError("BAD_PDV", 6)
            if complete:
                raise ProtocolError("BAD_STATE", 2)
            self._comes_on(context)
            complete = self._fragment(body[begin:position], control)
        return complete

    def _comes_on(self, context: int) -> None:
        """All of a message comes on one context, which was accepted (PS3.8 annex E)."""
        is_new = not (self._raw or self._is_open)
        if context not in self._contexts or not (is_new or context == self.context):
            raise ProtocolError("BAD_CONTEXT", 6)
        self.context = context

    def _fragment(self, fragment: memoryview, control: int) -> bool:
        last = bool(control & IS_LAST)
        if control & IS_COMMAND:
            return self._of_command(fragment, last)
        if self.command is None or not self._is_open:
            raise ProtocolError("BAD_STATE", 2)
        self.size += len(fragment)
        if self.size > LIMITS[self.command.field]:
            if self.command.field != dimse.C_STORE_RQ:
                raise ProtocolError("INSTANCE_SIZE", 0)
            self.refusal = OutOfSpace("the instance is over 2 GiB", code="INSTANCE_SIZE")
        self._is_open = not last
        return last

    def _of_command(self, fragment: memoryview, last: bool) -> bool:
        self._raw += fragment
        if self._is_open or len(self._raw) > MOST_COMMAND_BYTES:
            raise ProtocolError("BAD_STATE", 2)
        if not last:
            return False
        try:
            command = dimse.read_command(bytes(self._raw))
        except ValueError:
            raise ProtocolError("BAD_COMMAND", 6) from None
        if command.field not in LIMITS:
            raise ProtocolError("BAD_COMMAND", 2)
        self._raw.clear()
        self.command, self.size, self._is_open = command, 0, command.has_data_set
        self.refusal = _refusal(command, self._contexts[self.context])
        return not command.has_data_set


def _refusal(command: Command, syntax: Syntax) -> Refused | None:
    """Of a C-STORE. Raises ``ProtocolError`` for a notice on the context of another class."""
    if command.field in NOTICES:
        if command.sop_class.rstrip(b"\0 ") != syntax.abstract.encode():
            raise ProtocolError("BAD_CONTEXT", 6)
    elif command.field == dimse.C_STORE_RQ:
        try:
            checked_uid(command.sop_instance)
            check_context(checked_uid(command.sop_class), syntax.abstract)
        except Refused as error:
            return error
    return None


class Relay:
    """Between a connection and one end of a socket pair whose other end the library has."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ours: socket.socket,
        connection: Connection,
        contexts: Mapping[int, Syntax],
        refuse: Refuse,
    ) -> None:
        self._loop = loop
        self._ours = ours
        self._connection = connection
        self._refuse = refuse
        self._messages = Messages(contexts)
        self._held = b""
        """The PDUs of a command that is not whole yet."""
        self._waiting: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    def start(self, request: bytes) -> Callable[[bytes], None]:
        """Pass on the association request; returns where the peer's PDUs go, an empty one last."""
        self._ours.setblocking(False)
        back = self._loop.create_task(self._copy_back())
        forth = self._loop.create_task(self._copy_forth())
        back.add_done_callback(lambda _: forth.cancel())
        self._put(request, answered=True)
        return self._take

    def _take(self, pdu: bytes) -> None:
        if pdu[:1] == bytes([P_DATA_TF]):
            self._take_data(pdu)
        else:
            self._put(pdu, answered=pdu[:1] == bytes([A_RELEASE_RQ]))

    def _take_data(self, pdu: bytes) -> None:
        complete = self._messages.completes(memoryview(pdu)[HEADER:])
        pdu, self._held = self._held + pdu, b""
        if self._messages.is_in_command:
            if len(pdu) > MOST_HELD:
                raise ProtocolError("BAD_STATE", 2)
            self._held = pdu
            return
        command, refusal = self._messages.command, self._messages.refusal
        if command is None or refusal is None:
            self._put(pdu, answered=complete)
        elif complete:
            self._refuse(refusal, command, self._messages.size)
            status, context = refusal.status, self._messages.context
            self._connection.send(dimse.store_response(command, context, status))
            if isinstance(refusal, OutOfSpace):
                self._connection.abort(refusal.code, 0)

    def _put(self, pdu: bytes, *, answered: bool) -> None:
        self._connection.wait()
        self._waiting.put_nowait((pdu, answered))

    async def _copy_forth(self) -> None:
        with contextlib.suppress(OSError):
            while (item := await self._waiting.get())[0]:
                await self._loop.sock_sendall(self._ours, item[0])
                if not item[1]:
                    self._go_on(b"")
            self._ours.shutdown(socket.SHUT_WR)

    async def _copy_back(self) -> None:
        """What the library says goes to the peer; its end closes the connection."""
        try:
            while data := await self._loop.sock_recv(self._ours, 64 << 10):
                self._go_on(data)
        except OSError:
            pass
        finally:
            self._ours.close()
            self._connection.close(None)

    def _go_on(self, data: bytes) -> None:
        if self._connection.state is not State.CLOSED:
            self._connection.answer(data)

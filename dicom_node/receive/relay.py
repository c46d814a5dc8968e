"""Passes whole PDUs between a peer and the library, one message at a time, under limits.

pynetdicom keeps what it is sent in memory, and queues every message until it has time. So the next
PDU is read only when the last has been taken, and the next message only when the last has been
answered, as every association without an asynchronous window must (PS3.7 section D.3.3.3).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from struct import unpack_from

from dicom_node.domain.errors import InvalidUID
from dicom_node.receive import dimse
from dicom_node.receive.connection import HEADER, P_DATA_TF, Connection, ProtocolError, State
from dicom_node.receive.dataset import checked_uid
from dicom_node.receive.dimse import Command
from dicom_node.receive.incoming import MOST_BYTES
from dicom_node.receive.store_scp import IS_COMMAND, IS_LAST, MOST_COMMAND_BYTES

A_RELEASE_RQ = 5
N_SET_RQ, N_CREATE_RQ = 0x0120, 0x0140
MOST_NOTICE_BYTES = 4 << 20
"""Enough to name some 25,000 instances."""
LIMITS = {
    dimse.C_ECHO_RQ: 0,
    dimse.C_STORE_RQ: MOST_BYTES,
    N_SET_RQ: MOST_NOTICE_BYTES,
    N_CREATE_RQ: MOST_NOTICE_BYTES,
}
"""The commands that pass, and how large a data set each may bring."""


class Messages:
    """Follows the messages of one association without keeping their data sets."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._command: Command | None = None
        self._size = 0

    def completes(self, body: memoryview) -> bool:
        """Whether a P-DATA-TF body is the end of a message.

        Raises ``ProtocolError`` for what is none, for a command that does not pass, for a data set
        that is too large, and for a message that begins before the last was answered.
        """
        position, complete = 0, False
        while position < len(body):
            if position + HEADER > len(body):
                raise ProtocolError("BAD_PDV", 6)
            length, control = unpack_from(">IxB", body, position)
            begin, position = position + HEADER, position + 4 + length
            if length < 2 or position > len(body):
                raise ProtocolError("BAD_PDV", 6)
            if complete:
                raise ProtocolError("BAD_STATE", 2)
            complete = self._fragment(body[begin:position], control)
        return complete

    def _fragment(self, fragment: memoryview, control: int) -> bool:
        last = bool(control & IS_LAST)
        if control & IS_COMMAND:
            return self._of_command(fragment, last)
        if self._command is None:
            raise ProtocolError("BAD_STATE", 2)
        self._size += len(fragment)
        if self._size > LIMITS[self._command.field]:
            raise ProtocolError("INSTANCE_SIZE", 0)
        if last:
            self._command, self._size = None, 0
        return last

    def _of_command(self, fragment: memoryview, last: bool) -> bool:
        self._raw += fragment
        if self._command is not None or len(self._raw) > MOST_COMMAND_BYTES:
            raise ProtocolError("BAD_STATE", 2)
        if not last:
            return False
        try:
            command = dimse.read_command(bytes(self._raw))
        except ValueError:
            raise ProtocolError("BAD_COMMAND", 6) from None
        if command.field not in LIMITS:
            raise ProtocolError("BAD_COMMAND", 2)
        _check_uids(command)
        self._raw.clear()
        self._command = command if command.has_data_set else None
        return not command.has_data_set


def _check_uids(command: Command) -> None:
    """The library gives a C-STORE with a wrong UID no answer that a sender could understand."""
    if command.field != dimse.C_STORE_RQ:
        return
    try:
        checked_uid(command.sop_class)
        checked_uid(command.sop_instance)
    except InvalidUID as error:
        raise ProtocolError(error.code, 6) from None


class Relay:
    """Between a connection and one end of a socket pair whose other end the library has."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ours: socket.socket, connection: Connection
    ) -> None:
        self._loop = loop
        self._ours = ours
        self._connection = connection
        self._messages = Messages()
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
        data = pdu[:1] == bytes([P_DATA_TF])
        release = pdu[:1] == bytes([A_RELEASE_RQ])
        answered = self._messages.completes(memoryview(pdu)[HEADER:]) if data else release
        self._put(pdu, answered=answered)

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

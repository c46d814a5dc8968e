"""One connection: PDUs in, under caps and deadlines, from the first byte to the last.

::

    WAIT_REQUEST ──A-ASSOCIATE-RQ──▶ ESTABLISHED (our own C-STORE and C-ECHO)
          │                     └──▶ RELAYED     (pynetdicom speaks; we pass whole PDUs)
          └──────────── anything else ──────────▶ closed

A PDU is looked at only when all of it is here, and nothing longer than the cap is ever read.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from enum import Enum, auto
from struct import unpack_from
from typing import Any

from dicom_node.receive import dimse
from dicom_node.receive.admission import Applicant, certificate_sha256
from dicom_node.receive.negotiation import read_request, reject, titles
from dicom_node.receive.parties import Host, ProtocolError, Service

MAX_PDU = 128 << 10
"""What we tell peers to send at the most."""
MAX_REQUEST = 64 << 10
HEADER = 6
A_ASSOCIATE_RQ, P_DATA_TF, A_RELEASE_RQ, A_ABORT = 1, 4, 5, 7
TYPES = range(1, 8)
FIRST_PDU_S, PDU_S, IDLE_S, BUSY_S, CLOSING_S = 10.0, 30.0, 60.0, 120.0, 2.0
"""Time for the association request, for one PDU once it has begun, between PDUs, for our own work
on an instance, and for the peer to take our last words."""
UNREAD_S = 30.0
"""For the peer to take its answers; meanwhile we look at nothing that it says."""
AT_ONCE, LEAST = 4, 4 << 10
"""So many PDUs must bring so many bytes, or other peers get their turn."""
ABSURD = 1 << 24
QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class State(Enum):
    """Where the connection is."""

    WAIT_REQUEST = auto()
    ESTABLISHED = auto()
    RELAYED = auto()
    CLOSED = auto()


class Connection(asyncio.BufferedProtocol):
    """The peer's side of one TCP or TLS connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._buffer = bytearray(4096)
        self._start = self._end = 0
        self._transport: Any = None
        self._socket: Any = None
        self._service: Service | None = None
        self._to_library: Callable[[bytes], None] | None = None
        self._ended: str | None = None
        self._busy = False
        self._is_unread = False
        """The peer does not take its answers."""
        self._goes_on = False
        """Whether to look at the next PDU: nothing of the above, and the connection is open."""
        self._has_spoken = False
        self._may_sleep = False
        self._awaited = 1
        self.state = State.WAIT_REQUEST
        self.peer = ""
        self.calling_ae = ""
        self.number = self.received = 0
        self.deadline = time.monotonic() + FIRST_PDU_S

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.BaseProtocol``. Over TLS the first bytes, or the end, may come before."""
        if self.state is State.CLOSED:
            return
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self.peer = transport.get_extra_info("peername")[0]
        if code := self._host.connected(self):
            self.close(code)
        else:
            self._goes_on = True
            self._take_pdus()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``: who does not listen is not listened to."""
        self._is_unread, self._goes_on = True, False
        self._transport.pause_reading()
        self.deadline = time.monotonic() + UNREAD_S

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._is_unread = False
        asyncio.get_running_loop().call_soon(self._go_on)  # a PDU may be half handled

    def connection_lost(self, _error: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        midway = self._ended is None and self.state is not State.WAIT_REQUEST
        self.state, self._goes_on = State.CLOSED, False
        if self._service is not None:
            self._service.lost()
            self._service, self._buffer = None, bytearray()  # its memory back now, not in a while
        if self._to_library is not None:
            self._to_library(b"")
        self._host.ended(self, "ASSOC_ABORT" if midway else self._ended)

    def get_buffer(self, _hint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, count: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        if self._start == self._end and self._goes_on and self.state is not State.WAIT_REQUEST:
            self.deadline = time.monotonic() + PDU_S
        self._end += count
        self.received += count
        if self._transport is None:
            self._make_room(self._end + HEADER)
            return
        self._has_spoken = False
        self._take_pdus()
        if self.state is not State.CLOSED:
            if QUICK_ACK is not None and not (self._busy or self._has_spoken):
                self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
            if not self._goes_on and self._end - self._start == len(self._buffer):
                self._transport.pause_reading()

    def _take_pdus(self) -> None:
        try:
            begin, left = self._start, AT_ONCE
            while self._goes_on and self._take_pdu():
                left -= 1
                is_crumbs = not left and self._start - begin < LEAST
                if (self._has_spoken or is_crumbs) and self._end > self._start:
                    self._let_others_go_first()
                elif not left:
                    begin, left = self._start, AT_ONCE
        except ProtocolError as error:
            self.abort(error.code, error.reason)
        except Exception as error:  # noqa: BLE001 - one peer's fault must not end another's service
            self._host.failed(self, error)
            self.abort("INTERNAL", 0)

    def _let_others_go_first(self) -> None:
        """A peer that does not wait for its answers, or sends crumbs, must not keep the loop."""
        self._goes_on = False
        asyncio.get_running_loop().call_soon(self._go_on)

    def _take_pdu(self) -> bool:
        available = self._end - self._start
        if available < HEADER:
            return False
        kind, length = unpack_from(">BxI", self._buffer, self._start)
        size = HEADER + length
        self._check(kind, length)
        if available < size:
            self._make_room(size)
            self._sleep_until(size - available)
            return False
        self._sleep_until(1)
        begin, self._start = self._start, self._start + size
        with memoryview(self._buffer) as whole, whole[begin : begin + size] as pdu:
            self._handle(kind, pdu)
        if self._goes_on:
            self.deadline = time.monotonic() + (PDU_S if self._end > self._start else IDLE_S)
        return True

    def _check(self, kind: int, length: int) -> None:
        if kind not in TYPES:
            raise ProtocolError("PDU_TYPE", 1)
        if self.state is State.WAIT_REQUEST:
            if length > MAX_REQUEST:
                self.close("RQ_SIZE" if kind == A_ASSOCIATE_RQ and length < ABSURD else "PDU_SIZE")
            elif kind not in (A_ASSOCIATE_RQ, A_ABORT):
                raise ProtocolError("BAD_STATE", 2)
        elif length > MAX_PDU:
            self.close("PDU_SIZE")

    def _make_room(self, size: int) -> None:
        if self.state is not State.CLOSED and size > len(self._buffer):
            larger = bytearray(max(size, MAX_PDU + HEADER if size > MAX_REQUEST else size))
            rest = self._end - self._start
            larger[:rest] = self._buffer[self._start : self._end]
            self._buffer, self._start, self._end = larger, 0, rest

    def _sleep_until(self, count: int) -> None:
        """Be woken once so many bytes are here, not for each packet of a large PDU."""
        wanted = max(1, min(count, len(self._buffer) - self._end))
        if self._may_sleep and wanted != self._awaited:
            self._awaited = wanted
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _handle(self, kind: int, pdu: memoryview) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is State.RELAYED and self._to_library is not None:
            self._to_library(bytes(pdu))
            if kind == A_RELEASE_RQ:
                self._ended = ""  # whoever closes now does so as agreed
            elif kind == A_ABORT:
                self.close("ASSOC_ABORT")
        elif self.state is State.WAIT_REQUEST:
            self._request(bytes(pdu)) if kind == A_ASSOCIATE_RQ else self.close(None)
        elif kind == P_DATA_TF and self._service is not None:
            self._service.data(pdu[HEADER:])
        elif kind == A_RELEASE_RQ:
            self.send(dimse.release_response())
            self.close(None)
        elif kind == A_ABORT:
            self.close("ASSOC_ABORT")
        else:
            raise ProtocolError("BAD_STATE", 2)

    def _request(self, pdu: bytes) -> None:
        called_ae, self.calling_ae = titles(pdu)
        applicant = Applicant(
            called_ae, self.calling_ae, self.peer, certificate_sha256(self._transport)
        )
        if rejection := self._host.requested(self, applicant):
            self.send(reject(*rejection.answer))
            self.close(rejection.code)
            return
        try:
            request = read_request(pdu)
        except ValueError:
            raise ProtocolError("PDU_TYPE", 6) from None
        if self._host.must_relay(request):
            self._to_library = self._host.relay(self, pdu)
            self.state = State.RELAYED
        else:
            answer, self._service = self._host.established(self, request)
            self.state = State.ESTABLISHED
            self._may_sleep = self._transport.get_extra_info("sslcontext") is None
            self._make_room(2 * (MAX_PDU + HEADER))
            self.send(answer.pdu)

    def send(self, pdu: bytes) -> None:
        """Send a PDU."""
        if self.state is not State.CLOSED:
            self._has_spoken = True
            self._transport.write(pdu)

    def wait(self) -> None:
        """Look at nothing more until ``answer``: the peer is owed one."""
        self._busy, self._goes_on = True, False
        self.deadline = time.monotonic() + BUSY_S

    def answer(self, pdu: bytes) -> None:
        """Send what the peer waited for, and go on."""
        self._busy = False
        if self._is_unread and self.state is not State.CLOSED:
            self.deadline = time.monotonic() + UNREAD_S
        self.send(pdu)
        self._go_on()

    def _go_on(self) -> None:
        if not (self._busy or self._is_unread or self.state is State.CLOSED):
            self._goes_on, self._has_spoken = True, False
            self.deadline = time.monotonic() + (PDU_S if self._end > self._start else IDLE_S)
            self._transport.resume_reading()
            self._take_pdus()

    def abort(self, code: str, reason: int) -> None:
        """Send A-ABORT and close."""
        self.send(dimse.abort(reason))
        self.close(code)

    def close(self, code: str | None) -> None:
        """Close the connection; ``code`` says why, where it is for a fault."""
        if self.state is State.CLOSED:
            return
        self._ended = code or ""
        self.state, self._goes_on = State.CLOSED, False
        self.deadline = time.monotonic() + CLOSING_S
        self._transport.close()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state is State.CLOSED:
            self._transport.abort()
            return
        self.close(self._why_expired())

    def _why_expired(self) -> str:
        if self._is_unread or self._busy:
            return "UNREAD" if self._is_unread else "NO_ANSWER"
        if self._end > self._start:
            return "PDU_DEADLINE"
        return "NO_REQUEST" if self.state is State.WAIT_REQUEST else "IDLE"

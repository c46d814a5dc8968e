"""The floors of receiving: each image is written to a file of its own and synced, nothing else.

One takes bytes with a length, from a sender of its own. The other says just enough DICOM that the
senders of all receivers send to it, too: what they cost is in its figure as it is in the others'.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from struct import unpack_from

from traffic import Traffic

from dicom_node.receive import dimse
from dicom_node.receive.admission import supported_contexts
from dicom_node.receive.connection import A_RELEASE_RQ, HEADER, MAX_PDU, P_DATA_TF
from dicom_node.receive.negotiation import accept, read_request
from dicom_node.receive.store_scp import IS_COMMAND, IS_LAST

SINK, DICOM_SINK = "TCP sink, synced", "DICOM sink, synced"
LARGEST = 32 << 20
Keep = Callable[[memoryview], None]


@contextmanager
def sink(name: str, folder: Path, port: int) -> Iterator[None]:
    """Run one within the block."""
    server = socket.create_server(("127.0.0.1", port))
    names = count()

    def keep(image: memoryview) -> None:
        handle = os.open(folder / f"{next(names)}", os.O_WRONLY | os.O_CREAT)
        os.write(handle, image)
        os.fsync(handle)
        os.close(handle)

    def accept_all() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=SINKS[name], args=[peer, keep], daemon=True).start()

    threading.Thread(target=accept_all, daemon=True).start()
    try:
        yield
    finally:
        server.close()


def _take_bytes(peer: socket.socket, keep: Keep) -> None:
    buffer = memoryview(bytearray(LARGEST))
    with peer:
        while head := peer.recv(8, socket.MSG_WAITALL):
            size = int.from_bytes(head, "big")
            _fill(peer, buffer[:size])
            keep(buffer[:size])
            peer.send(b"\1")


def _take_dicom(peer: socket.socket, keep: Keep) -> None:
    """No check of anything: senders of this benchmark alone may call."""
    pdu, image = memoryview(bytearray(MAX_PDU + HEADER)), memoryview(bytearray(LARGEST))
    command, size = b"", 0
    with peer:
        while _fill(peer, pdu[:HEADER]):
            kind, length = unpack_from(">BxI", pdu)
            _fill(peer, pdu[HEADER : HEADER + length])
            if kind == A_RELEASE_RQ:
                peer.send(dimse.release_response())
            if kind != P_DATA_TF:
                _associate(peer, bytes(pdu[: HEADER + length]))
                continue
            context, control = unpack_from("BB", pdu, HEADER + 4)
            fragment = pdu[HEADER + 6 : HEADER + length]
            if control & IS_COMMAND:
                command, size = bytes(fragment), 0
                continue
            image[size : size + len(fragment)] = fragment
            size += len(fragment)
            if control & IS_LAST:
                keep(image[:size])
                peer.send(dimse.store_response(dimse.read_command(command), context, 0))


def _associate(peer: socket.socket, request: bytes) -> None:
    if request[0] == 1:
        peer.send(accept(read_request(request), supported_contexts(), MAX_PDU).pdu)


def _fill(peer: socket.socket, buffer: memoryview) -> bool:
    return peer.recv_into(buffer, len(buffer), socket.MSG_WAITALL) == len(buffer)


SINKS: dict[str, Callable[[socket.socket, Keep], None]] = {
    SINK: _take_bytes,
    DICOM_SINK: _take_dicom,
}

SINK_SENDER = """
import socket, sys
port, names = int(sys.argv[1]), sys.argv[2:]
with socket.create_connection(("127.0.0.1", port)) as peer:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name in names:
        data = open(name, "rb").read()
        peer.sendall(len(data).to_bytes(8, "big") + data)
        peer.recv(1)
"""


def send_to_sink(traffic: Traffic, port: int, associations: int) -> None:
    """The same files, as bytes with a length, one answer for each."""
    senders = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", SINK_SENDER, str(port),
             *map(str, traffic.files[start::associations])]
        )
        for start in range(associations)
    ]  # fmt: skip
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise RuntimeError("the sink's sender failed")

"""A sender that makes one association an image, with the requests built beforehand."""

import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from wire import command, pdv, request

MAX_PDU = 16000
RELEASE = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])


def knock(port: int, ae_title: str, files: Sequence[Path]) -> None:
    """Associate, store, release: for each file."""
    for file in files:
        associate, store = _conversation(file, ae_title)
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for said, expected in ((associate, 2), (store, 4), (RELEASE, 6)):
                peer.sendall(said)
                if _answer(peer) != expected:
                    raise RuntimeError("the receiver gave another answer")


_KNOWN: dict[tuple[Path, str], tuple[bytes, bytes]] = {}


def _conversation(file: Path, ae_title: str) -> tuple[bytes, bytes]:
    if (file, ae_title) not in _KNOWN:
        _KNOWN[file, ae_title] = _build(file, ae_title)
    return _KNOWN[file, ae_title]


def _build(file: Path, ae_title: str) -> tuple[bytes, bytes]:
    raw = file.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 140)
    data = raw[144 + length :]
    meta = dcmread(file, stop_before_pixels=True).file_meta
    sop_class, instance = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    associate = request((sop_class, [meta.TransferSyntaxUID]), called=ae_title)
    starts = range(0, len(data), MAX_PDU)
    fragments = [
        pdv(data[start : start + MAX_PDU], last=start + MAX_PDU >= len(data)) for start in starts
    ]
    head = pdv(command(sop_class=sop_class, sop_instance=instance), command=True)
    return associate, head + b"".join(fragments)


def _answer(peer: socket.socket) -> int:
    head = peer.recv(6, socket.MSG_WAITALL)
    kind, length = struct.unpack(">BxI", head)
    peer.recv(length, socket.MSG_WAITALL)
    return int(kind)

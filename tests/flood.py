"""Hostile peers in a process of their own: each says its piece, waits until it is closed, and comes
again."""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS, SLOWLY_S = 200, 0.05


@dataclass(frozen=True, slots=True)
class Piece:
    """What they say, and for how long; ``slowly``: one byte after the other."""

    says: bytes
    slowly: bool = False
    seconds: float = 0.4
    certificate: Sequence[Path] | None = None
    """Over TLS with this (PEM file, its key), or with none where it is empty; None: no TLS."""

    def plain(self) -> list[Any]:
        """As JSON has it."""
        files = None if self.certificate is None else [str(file) for file in self.certificate]
        return [self.says.hex(), self.slowly, self.seconds, files]


class Flood:
    """200 peers at a time, with one piece after the other."""

    def __init__(self, port: int, pieces: Sequence[Piece]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        with self._process.stdin as told:
            json.dump([port, [piece.plain() for piece in pieces]], told)

    @property
    def goes_on(self) -> bool:
        """Whether they still come."""
        return self._process.poll() is None

    def came(self) -> list[int]:
        """How many connections there were with each piece."""
        assert self._process.stdout is not None
        with self._process, self._process.stdout as said:
            return [int(count) for count in json.load(said)]


async def flood(port: int, pieces: list[Any]) -> list[int]:
    """Returns how many connections there were with each piece."""
    counts = []
    for says, slowly, seconds, certificate in pieces:
        context = None if certificate is None else _context(certificate)
        until = time.monotonic() + seconds
        peers = (_peer(port, bytes.fromhex(says), slowly, context, until) for _ in range(PEERS))
        counts.append(sum(await asyncio.gather(*peers)))
    return counts


def _context(certificate: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(*certificate)
    return context


async def _peer(
    port: int, says: bytes, slowly: bool, context: ssl.SSLContext | None, until: float
) -> int:
    came = 0
    while (left_s := until - time.monotonic()) > 0:
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(_come(port, says, slowly, context), left_s)
        came += 1
    return came


async def _come(port: int, says: bytes, slowly: bool, context: ssl.SSLContext | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        for piece in [says[n : n + 1] for n in range(len(says))] if slowly else [says]:
            writer.write(piece)
            await writer.drain()
            if slowly:
                await asyncio.sleep(SLOWLY_S)
        while await reader.read(65536):
            pass
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    json.dump(asyncio.run(flood(*json.load(sys.stdin))), sys.stdout)

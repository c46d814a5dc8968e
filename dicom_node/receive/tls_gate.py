"""The TLS handshake, off the accept loop and under the same limits as everything else."""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.domain.errors import ConfigurationError
from dicom_node.observe import log
from dicom_node.receive.connection import Connection
from dicom_node.receive.parties import Host
from dicom_node.settings.listen import Tls

HANDSHAKE_S = 5.0


class TlsGate(asyncio.Protocol):
    """A connection until its handshake is done; then a ``Connection`` takes its place."""

    def __init__(
        self, host: Host, context: ssl.SSLContext, inside: Callable[[], Connection]
    ) -> None:
        self._host = host
        self._context = context
        self._inside = inside
        self._transport: Any = None
        self._task: asyncio.Task[None] | None = None
        self.peer = ""
        self.calling_ae = ""
        self.number = self.received = 0
        self.deadline = time.monotonic() + HANDSHAKE_S + 1

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = transport
        self.peer = transport.get_extra_info("peername")[0]
        if code := self._host.connected(self):
            self._end(code)
        else:
            transport.pause_reading()
            self._task = asyncio.ensure_future(self._shake_hands())

    def connection_lost(self, _error: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._host.ended(self, None)

    def expire(self) -> None:
        """The deadline has passed."""
        self._end("TLS_DEADLINE")

    async def _shake_hands(self) -> None:
        connection = self._inside()
        loop = asyncio.get_running_loop()
        try:
            inner = await loop.start_tls(
                self._transport,
                connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except ssl.SSLError:
            self._end("TLS_CERT")
        except (ConnectionError, OSError, TimeoutError):
            self._end("TLS_DEADLINE")
        else:
            self._host.ended(self, None)
            connection.connection_made(inner)

    def _end(self, code: str) -> None:
        self._transport.abort()
        self._host.ended(self, code)


class Certificates:
    """The files of ``listen.tls``, read anew once they have changed: who renews a certificate need
    not restart the listener.

    Raises ``ConfigurationError`` where they cannot be read at the start. Later the last that could
    be read stay, for the files may be half-way through a change.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._look()
        self._context = tls_context(tls)

    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        if (found := self._look()) != self._seen:
            self._seen = found
            self._renew()
        return self._context

    def _look(self) -> list[tuple[int, int, int]]:
        return [
            _state(file) for file in (self._tls.certificate, self._tls.key, self._tls.authority)
        ]

    def _renew(self) -> None:
        try:
            self._context = tls_context(self._tls)
        except ConfigurationError:
            log("listen").error("tls.stale", reason="TLS_FILES")
        else:
            log("listen").info("tls.renewed")


def _state(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer, and a certificate from every caller (PS3.15 B.12, BCP 195)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    for file in (tls.certificate, tls.key, tls.authority):
        if not file.is_file():
            raise ConfigurationError(f"listen.tls: there is no file {file.absolute()}: correct it")
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        context.load_verify_locations(tls.authority)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or error.strerror
        raise ConfigurationError(
            f"listen.tls: the certificates cannot be read ({why}): give PEM files that the node's "
            "user may read, a key that belongs to the certificate, and one without a password"
        ) from None
    return context

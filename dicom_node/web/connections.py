"""How many connections and requests the web server has at a time, and how long a connection may ask
for nothing.

Who connects beyond the limit is closed unheard; who asks beyond it is told when to come again. What
monitors ask is always answered, as long as they get a connection.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node.observe import log

MOST_CONNECTIONS, MOST_OF_A_HOST = 256, 64
MOST_REQUESTS = 128
RETRY_AFTER_S = 5
MONITORED = frozenset({"/healthz", "/readyz", "/metrics"})
HEAD_S = 10.0
"""Time for the head of a request, twice at the most."""


class LimitedConnection(H11Protocol):
    """One connection; uvicorn itself waits for the first request for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.BaseProtocol``."""
        super().connection_made(transport)
        clients = [getattr(connection, "client", None) for connection in self.connections]
        hosts = [client[0] for client in clients if client]
        if len(hosts) > MOST_CONNECTIONS or hosts.count(self._peer()) > MOST_OF_A_HOST:
            self._close("CONN_LIMIT")
        else:
            self.loop.call_later(HEAD_S, self._look, None)

    def _look(self, before: object) -> None:
        """Now and then: ``before`` is the last request that had been answered then."""
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and before is (self.cycle or self):
            self._close("NO_REQUEST")
        else:
            self.loop.call_later(HEAD_S, self._look, (self.cycle or self) if is_idle else None)

    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _close(self, code: str) -> None:
        log("web").warning("web.reject", reason=code, peer=self._peer())
        self.transport.abort()


class LimitedRequests:
    """ASGI middleware around the routes: so many requests at a time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 503 (RFC 9110 section 15.6.4)."""
        if scope["type"] != "http" or scope["path"] in MONITORED:
            await self._app(scope, receive, send)
        elif self._running >= MOST_REQUESTS:
            await _busy(scope)(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1


def _busy(scope: Scope) -> PlainTextResponse:
    peer = (scope.get("client") or [""])[0]
    log("web").warning("web.reject", reason="REQUEST_LIMIT", status=503, peer=peer)
    text = f"The node has too much to do. Ask again in {RETRY_AFTER_S} seconds.\n"
    return PlainTextResponse(text, 503, {"Retry-After": str(RETRY_AFTER_S)})


LIMITS: Mapping[str, Any] = {"http": LimitedConnection}
"""Of ``uvicorn.Config``."""

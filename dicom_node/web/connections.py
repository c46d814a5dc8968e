"""How many connections the web server holds at a time, and how long one may ask for nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node.observe import log

MOST_CONNECTIONS, MOST_OF_A_HOST = 256, 64
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


LIMITS: Mapping[str, Any] = {"http": LimitedConnection, "limit_concurrency": MOST_CONNECTIONS + 1}
"""Of ``uvicorn.Config``: requests beyond get 503."""

"""The listener: accepts connections, keeps what they bring, says why it refuses what it refuses."""

import asyncio
import gc
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from dicom_node.address import listening
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure, Refused
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.receive import library
from dicom_node.receive.admission import (
    LIMIT,
    Applicant,
    Rejection,
    asks_for,
    rejection,
    supported_contexts,
)
from dicom_node.receive.connection import MAX_PDU, Connection
from dicom_node.receive.dataset import Identity
from dicom_node.receive.incoming import Incoming, Room
from dicom_node.receive.negotiation import REMEMBERED, Answer, Request, accept
from dicom_node.receive.notices import CLASSES
from dicom_node.receive.packs import Packs
from dicom_node.receive.parties import Peer, Service, whose
from dicom_node.receive.recorder import Recorder, or_die
from dicom_node.receive.reports import reports
from dicom_node.receive.spool import Spool, Ticket
from dicom_node.receive.store_scp import StoreScp
from dicom_node.receive.tls_gate import Certificates, TlsGate
from dicom_node.settings.completeness import Notice
from dicom_node.settings.listen import Listen
from dicom_node.store import InstanceStore, refusing

TICK_S = 0.5
BACKLOG = 512


class Listener:
    """One process's share of the door. Call ``start`` and ``stop`` from outside its thread.

    ``expect``: the notices that are taken, too; ``proves``: whether reports on what was sent are.
    ``on_failure`` is called once a sync has failed: nothing is taken any more, and only a new
    process, which recovers the packs, can go on.
    """

    def __init__(
        self,
        settings: Listen,
        root: Path,
        ledger: Ledger,
        *,
        index: int = 0,
        expect: Sequence[Notice] = (),
        proves: bool = False,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._root = root
        store = InstanceStore(root)
        self._packs = _packs(store, settings, index)
        recorder = Recorder(self._packs, ledger, store)
        self._spool = Spool(self._packs, recorder, durable=settings.durability == "full")
        supported = supported_contexts()
        self._answer = lru_cache(REMEMBERED)(lambda asked: accept(asked, supported, MAX_PDU))
        self._notices = [CLASSES[name] for name in expect]
        self._proves = proves
        self._room = Room()
        self._library = library.Library(
            settings,
            self._spool,
            self._packs,
            self._room,
            ledger,
            expect=expect,
            proves=proves,
            refusal=self.refusal,
            kept=self._look_at_spool,
        )
        self._connections: set[Peer] = set()
        self._numbers = count(1)
        self._associations: set[Peer] = set()
        self._safe: deque[Callable[[], None]] = deque()
        """The answers to what has become safe."""
        self._answering = False
        self._refusal: Refused | None = None
        self._on_failure = on_failure
        self._log = log("listen")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=or_die, args=[self._loop.run_forever], name="listen", daemon=True
        )
        self._server: asyncio.Server | None = None

    # from outside

    def start(self) -> int:
        """Recover the packs, bind, and serve in a thread; returns the port.

        Raises ``OutOfSpace``, ``ProcessingFailure`` or ``LedgerBusy`` where the packs cannot be
        recovered, ``StoreHeld`` where another process writes to them, ``CannotListen``.
        """
        with refusing():
            self._spool.start()
        gc.collect()
        gc.freeze()  # thousands of dictionary entries that no collection need look at again
        self._thread.start()
        with listening("listen", self._settings.host, self._settings.port):
            self._server = self._call(self._bind())
        port = int(self._server.sockets[0].getsockname()[1])
        self._log.info("listen.ready", host=self._settings.host, port=port)
        return port

    def stop(self) -> None:
        """Stop accepting, drop the connections, finish what was acknowledged."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._library.stop()
        self._spool.stop()

    @property
    def has_failed(self) -> bool:
        """Whether a sync has failed."""
        return isinstance(self._refusal, ProcessingFailure)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _bind(self) -> asyncio.Server:
        self._tick()
        return await self._loop.create_server(
            self._protocols(),
            self._settings.host,
            self._settings.port,
            backlog=BACKLOG,
            reuse_port=self._settings.processes > 1,
        )

    def _protocols(self) -> Callable[[], asyncio.BaseProtocol]:
        if self._settings.tls is None:
            return lambda: Connection(self)
        certificates = Certificates(self._settings.tls)
        return lambda: TlsGate(self, certificates.context(), lambda: Connection(self))

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.expire()
        for _ in range(20):
            if not self._connections:
                return
            await asyncio.sleep(0.05)

    def _tick(self) -> None:
        """Twice a second: deadlines, and whether there is still room."""
        self._loop.call_later(TICK_S, self._tick)  # first, for what follows may fail
        now = time.monotonic()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire()
        free_mib = shutil.disk_usage(self._root).free >> 20
        if not self.has_failed:
            low = free_mib < self._settings.reserve_mib
            self._refusal = OutOfSpace("too little space", code="HIGH_WATER") if low else None

    # connection.Host

    def connected(self, connection: Peer) -> str | None:
        """See ``connection.Host``."""
        connection.number = next(self._numbers)
        self._connections.add(connection)
        same_host = sum(c.peer == connection.peer for c in self._connections)
        full = len(self._connections) > self._settings.max_connections
        return "CONN_LIMIT" if full or same_host > self._settings.max_connections_per_host else None

    def requested(self, connection: Connection, applicant: Applicant) -> Rejection | None:
        """See ``connection.Host``."""
        if unwelcome := rejection(applicant, self._settings):
            return unwelcome
        hosts = Counter(c.peer for c in self._associations)
        full = len(self._associations) >= self._settings.max_associations
        if full or hosts[connection.peer] >= self._settings.max_associations_per_host:
            return Rejection("ASSOC_LIMIT", LIMIT)
        self._associations.add(connection)
        return None

    def must_relay(self, request: Request) -> bool:
        """See ``connection.Host``."""
        is_notice = asks_for(request.contexts, self._notices)
        return not self._settings.fast_path or is_notice or (self._proves and reports(request))

    def established(self, connection: Connection, request: Request) -> tuple[Answer, Service]:
        """See ``connection.Host``."""
        answer = self._answer(request)
        for code, names in answer.refused.items():
            about = {"sop_classes": names, **whose(connection)}
            self._log.warning("assoc.note", reason=code, **about)
        incoming = Incoming(self._packs, self._may_write_as_it_comes, self._room)
        return answer, StoreScp(connection, answer.accepted, incoming, self)

    def _may_write_as_it_comes(self) -> bool:
        """One sync for many senders needs their images in one pack, one after the other."""
        return self._settings.durability == "os" or len(self._associations) == 1

    def relay(self, connection: Connection, request: bytes) -> Callable[[bytes], None]:
        """See ``connection.Host``."""
        return self._library.relay(self._loop, connection, request)

    def failed(self, connection: Connection, error: Exception) -> None:
        """See ``connection.Host``."""
        self._log.error("listen.failed", reason="INTERNAL", exc_info=error, **whose(connection))

    def ended(self, connection: Peer, code: str | None) -> None:
        """See ``connection.Host``."""
        self._connections.discard(connection)
        self._associations.discard(connection)
        if code:
            self._log.warning(
                "assoc.reject",
                reason=code,
                bytes=connection.received,
                **whose(connection),
            )

    # store_scp.Keeper

    def refusal(self) -> Refused | None:
        """See ``store_scp.Keeper``."""
        return self._refusal

    def keep(
        self,
        identity: Identity,
        calling_ae: str,
        incoming: Incoming,
        done: Callable[[Refused | None], None],
    ) -> Ticket:
        """See ``store_scp.Keeper``."""
        alone = len(self._associations) == 1
        safe = partial(self._committed, done)
        try:
            return self._spool.keep(identity, calling_ae, incoming, safe, alone=alone)
        finally:
            self._look_at_spool()

    def _look_at_spool(self) -> None:
        """After a sync that failed nothing more is taken."""
        if self._spool.failure is not None:
            self._refusal = self._spool.failure
            self._on_failure()

    def _committed(self, done: Callable[[Refused | None], None], failure: Refused | None) -> None:
        """From the spool's thread."""
        self._look_at_spool()
        self._safe.append(partial(done, failure))
        if not self._answering:
            self._answering = True
            self._loop.call_soon_threadsafe(self._answer_safe)

    def _answer_safe(self) -> None:
        """One call of the loop for all that became safe together."""
        self._answering = False
        while self._safe:
            self._loop.call_soon(self._safe.popleft())

    def note(
        self, connection: Connection, event: str, code: str, *, status: int, size: int, sop: str
    ) -> None:
        """See ``store_scp.Keeper``."""
        tell = self._log.warning if status else self._log.info
        tell(
            event,
            reason=code,
            status=f"{status:04X}",
            bytes=size,
            **whose(connection),
            **({"sop": sop} if sop else {}),
        )


def _packs(store: InstanceStore, settings: Listen, index: int) -> Packs:
    """The packs of one process; the first takes over those of processes that there are no more."""
    names = [f"listen-{number}" for number in range(settings.processes)]
    found = [folder for folder in store.packs.glob("*") if folder.is_dir()]
    others = [folder for folder in found if folder.name not in names] if index == 0 else []
    return Packs(store.packs / f"listen-{index}", others)

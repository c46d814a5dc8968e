"""A listener for tests, with its log lines and its ledger at hand."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

from catalogue import line_of
from log_lines import log_lines
from wire import Wire

from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.receive.incoming import MOST_COLLECTED
from dicom_node.receive.listener import Listener
from dicom_node.redis_server import free_port
from dicom_node.settings.completeness import Notice
from dicom_node.settings.listen import Listen
from dicom_node.store import InstanceStore

OF_THE_ROW = {"DUP_SAME", "UID_CONFLICT"}
"""Reasons found when the row is written, perhaps by a later process: a record names no address."""


@dataclass
class Door:
    """A running listener."""

    listener: Listener
    settings: Listen
    store: InstanceStore
    ledger: Ledger
    lines: list[Any]

    def wire(self, source: str | None = None) -> Wire:
        """A raw connection to it."""
        return Wire.connect(self.settings.port, source=source)

    def associated(self, *contexts: tuple[str, list[str]], **names: str) -> Wire:
        """A raw connection with an accepted association."""
        wire = self.wire()
        assert wire.associate(*contexts, **names) == 2
        return wire

    def narrow(self) -> None:
        """Let the system keep little of what its peers do not read."""
        for connection in self.listener._associations:
            connection._socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 4096)

    def said(self, reason: str, within_s: float = 3) -> dict[str, Any]:
        """The log line with a reason; fails when there is none in time."""
        lines = self.lines
        return self._line(
            lambda: next((x for x in lines if x.get("reason") == reason), None), within_s
        )

    def told(
        self, number: int, aet: str = "MODALITY", peer: str = "127.0.0.1", within_s: float = 3
    ) -> dict[str, Any]:
        """The log line of a case of the catalogue, with whom it names; fails when there is none in
        time, or it is not as the catalogue says."""
        line = self._line(lambda: line_of(number, list(self.lines)), within_s)
        level = "info" if line["event"] == "store.note" else "warning"
        sender = {} if line["reason"] in OF_THE_ROW else {"peer": peer}
        stated = {"log_level": level, "aet": aet, **sender}
        assert {key: line.get(key) for key in stated} == stated, line
        assert line["reason"] in OF_THE_ROW or line["assoc"] > 0, line
        return line

    def _line(
        self, find: Callable[[], Mapping[str, Any] | None], within_s: float
    ) -> dict[str, Any]:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if line := find():
                return dict(line)
            time.sleep(0.02)
        raise AssertionError(f"no such line: {self.lines[-20:]}")

    def arrived(self, count: int, within_s: float = 5) -> list[OpenStudy]:
        """What receives, once so many instances have their rows."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            receiving = self.ledger.studies.receiving()
            if sum(study.arrivals for study in receiving) >= count:
                return receiving
            time.sleep(0.02)
        raise AssertionError(f"fewer than {count} rows: {receiving}")

    def emptied(self, within_s: float = 3) -> None:
        """Wait until what was given up has left no file and no memory taken."""
        deadline, room = time.monotonic() + within_s, self.listener._room
        while self.files() or room.left < MOST_COLLECTED:
            assert time.monotonic() < deadline, (self.files(), room.left)
            time.sleep(0.02)

    def files(self) -> list[Path]:
        """Every file of the store, finished or not."""
        found = self.store.root.rglob("*")
        return [path for path in found if path.is_file() and path.suffix != ".lock"]


def rss_mib() -> float:
    """Resident memory of this process, in which the listener runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def open_door(
    folder: Path, *, expect: Sequence[Notice] = (), proves: bool = False, **settings: Any
) -> Iterator[Door]:
    """A listener over a folder, on a free port, stopped at the end of the block."""
    listen = Listen(port=free_port(), **settings)
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
    with log_lines() as lines:
        listener = Listener(listen, folder / "store", ledger, expect=expect, proves=proves)
        listener.start()
        try:
            yield Door(listener, listen, InstanceStore(folder / "store"), ledger, lines)
        finally:
            listener.stop()
            ledger.close()

"""Files that come by STOW-RS: the web server is killed at each point, and any call to the disk may
fail; what it says it took is kept, and the same server takes the rest when it is sent again."""

import json
import signal
import socket
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from campaign import Injection, often
from front import Front, Image
from points import KEPT
from processes import PATIENCE_S, Running, start, wait_until
from tracing import injecting, traced

from dicom_node.receive.incoming import file_head
from dicom_node.redis_server import free_port

pytestmark = pytest.mark.slow
IMAGES = 4
POINTS = (*KEPT, "ledger.committing", "ledger.committed")
CALLS = {
    # what fails: (the calls, and from which of them on)
    "write of what comes": (["write"], 1),
    "write into the store": (["write"], 2),
    "sync": (["fsync"], 1),
    "sync of a folder": (["fsync"], 2),
    "rename into the store": (["?rename", "?renameat", "?renameat2"], 1),
    "ledger write": (["pwrite64"], 1),
    "ledger commit": (["fdatasync"], 1),
}
RELATED = 'multipart/related; type="application/dicom"; boundary=cut'
PART = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"
REFERENCED_SOP_SEQUENCE, REFERENCED_SOP_INSTANCE_UID = "00081199", "00081155"


class Deposit:
    """The web server over a front's data."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.port = free_port()
        front.config.write_text(f"{front.config.read_text()}[web]\nport = {self.port}\n")

    def serve(self, plan: str = "") -> Running:
        """Start it; it listens, or has ended."""
        server = start("web", self.front.config, plan)
        wait_until(lambda: server.ended() or self._listens(), "the web server")
        return server

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def send(self, images: list[Image]) -> list[Image]:
        """All in one request; returns what was not acknowledged."""
        body = b"".join(PART + _file(each) + b"\r\n" for each in images) + b"--cut--\r\n"
        taken = set()
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            connection.request("POST", "/studies", body, {"Content-Type": RELATED})
            taken = _taken(json.loads(connection.getresponse().read()))
        self.front.acknowledged |= {i.uid: i.sha256 for i in images if i.uid in taken}
        return [i for i in images if i.uid not in taken]

    def judged(self, fault: str, left: list[Image]) -> None:
        """Nothing may be missing, and the sender gets the rest in. One record."""
        began = time.monotonic()
        lost, twice = self.front.look()
        left = self.send(left) if left else []
        after = self.front.look()
        took = time.monotonic() - began
        self.front.campaign.add(
            Injection("web", fault, not left, max(lost, after[0]), max(twice, after[1]), took)
        )

    def leftovers(self) -> list[Path]:
        """Files that are no file of the store yet."""
        incoming = self.front.folder / "data" / "store" / "incoming"
        return [each for each in incoming.rglob("*") if each.is_file()]


def _file(each: Image) -> bytes:
    return file_head("1.2.840.10008.5.1.4.1.1.2", each.uid, "1.2.840.10008.1.2.1") + each.data


def _taken(answer: dict) -> set[str]:
    items = answer.get(REFERENCED_SOP_SEQUENCE, {}).get("Value", [])
    return {item[REFERENCED_SOP_INSTANCE_UID]["Value"][0] for item in items}


@pytest.fixture
def deposit(campaign, tmp_path):
    return Deposit(Front(tmp_path, campaign, "web"))


def test_killed_at_each_point(deposit):
    for point in POINTS:
        for passage in range(2, 2 + often(1, 3)):
            server = deposit.serve(f"{point}:{passage}")
            left = deposit.send(deposit.front.images(IMAGES, 4096))
            assert server.ended(PATIENCE_S), point
            assert server.process.exitcode == -signal.SIGKILL, server.log.read_text()
            assert len(deposit.leftovers()) <= 1, "only what the killed process was writing"
            for each in deposit.leftovers():
                each.unlink()
            server = deposit.serve()
            deposit.judged(f"web killed at {point}", left)
            server.kill()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_any_call_fails(error, tool, deposit):
    server = deposit.serve()
    for what, (calls, first) in CALLS.items():
        for when in (f"{first}", f"{first}+"):
            options = injecting(calls, error, when)
            trace = deposit.front.folder / f"trace-{what}-{when}"
            with traced(tool("strace"), server.pid, trace, *options) as traces:
                left = deposit.send(deposit.front.images(IMAGES, 4096))
            assert traces.injected, what
            assert left or when == f"{first}", f"{what}: said to be taken"
            deposit.judged(f"web, {what} fails with {error}", left)
            assert deposit.leftovers() == []
    assert not server.ended()
    said = server.log.read_text()
    assert ("NO_SPACE" if error == "ENOSPC" else "STORAGE_IO") in said
    assert "library.message" not in said, "nobody foresaw it"

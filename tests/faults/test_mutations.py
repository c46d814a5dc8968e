"""I17, I18: seeded damage to PDUs and data sets: the listener lives, answers in time, keeps only
what can be read back, and writes nowhere else."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from campaign import Injection, often
from front import Front
from mutations import hostile
from processes import Running
from pydicom import Dataset, dcmread

from dicom_node.ledger import Ledger
from dicom_node.store import InstanceStore, StoredFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
THREADS, PAUSE_S, LONGEST_S, MOST_GROWTH_MIB = 16, 0.1, 5.0, 100


@pytest.mark.parametrize("way", ["", "fast_path = false"], ids=["fast path", "library"])
def test_mutations(way, campaign, tmp_path):
    count = often(1500, 90_000) if not way else often(300, 10_000)
    front = Front(tmp_path / "node", campaign, "mutations", way)
    listener = front.listen()
    assert listener.ready()
    before, resident = outside(tmp_path), memory_mib(listener)
    slowest = Slowest()
    threads = [
        threading.Thread(target=knock, args=[front.port, range(n, count, THREADS), slowest])
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alive = not listener.ended() and not front.send(front.images(4))
    grown = memory_mib(listener) - resident
    listener.kill(15)
    unreadable = [path for path in kept(front) if not readable(path)]
    assert outside(tmp_path) == before, "files outside the data folder"
    assert slowest.acknowledged > 0
    for _ in range(count - 1):
        campaign.injections.append(Injection("mutations", way or "fast path", survived=True))
    campaign.add(
        Injection(
            "mutations", way or "fast path",
            survived=alive and slowest.seconds < LONGEST_S and grown < MOST_GROWTH_MIB,
            lost=len(unreadable),
            recovery_s=slowest.seconds,
            note=f"seed {slowest.seed}, {grown} MiB more, unreadable: {unreadable[:3]}",
        )
    )  # fmt: skip


class Slowest:
    """The longest answer so far, and how many instances were acknowledged."""

    def __init__(self) -> None:
        self.seconds, self.seed, self.acknowledged = 0.0, -1, 0
        self._lock = threading.Lock()

    def add(self, seconds: float, seed: int, acknowledged: int) -> None:
        with self._lock:
            self.acknowledged += acknowledged
            if seconds > self.seconds:
                self.seconds, self.seed = seconds, seed


def knock(port: int, seeds: range, slowest: Slowest) -> None:
    for seed in seeds:
        began = time.monotonic()
        said = converse(port, hostile(seed))
        slowest.add(time.monotonic() - began, seed, said.count(SUCCESS))


SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"
"""Status (0000,0900) 0x0000 of a response."""


def converse(port: int, says: bytes) -> bytes:
    """Say it all; once nothing more comes for a moment, hang up, and wait for the other."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        with suppress(OSError):
            sock.sendall(says)
            sock.settimeout(PAUSE_S)
            heard += all_from(sock)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(4 * LONGEST_S)
            heard += all_from(sock)
    return heard


def all_from(sock: socket.socket) -> bytes:
    heard = b""
    with suppress(TimeoutError, ConnectionError):
        while chunk := sock.recv(65536):
            heard += chunk
    return heard


def kept(front: Front) -> list[StoredFile]:
    ledger = Ledger.open(f"sqlite:///{front.folder / 'data' / 'ledger.sqlite3'}")
    store = InstanceStore(front.folder / "data" / "store")
    studies = ledger.studies.receiving()
    instances = [i for s in studies for i in ledger.studies.instances(s.study_instance_uid)]
    ledger.close()
    return [store.file(instance) for instance in instances]


def readable(file: StoredFile) -> bool:
    """Every element can be read, to the last byte of the file."""
    try:
        with file.open() as content:
            data = dcmread(content)
        walk(data)
        last = data.get_item(max(data.keys()))
    except Exception:  # noqa: BLE001
        return False
    return bool(data.SOPInstanceUID and data.StudyInstanceUID and last is not None)


def walk(data: Dataset) -> None:
    for tag in data.keys():  # noqa: SIM118
        raw = data.get_item(tag)
        if raw is not None and raw.VR == "SQ":
            for item in data[tag].value:
                walk(item)


def outside(folder: Path) -> set[Path]:
    """What lies beside the node's data."""
    beside = {p for p in folder.rglob("*") if not p.is_relative_to(folder / "node" / "data")}
    return {p for p in beside if p.suffix != ".log"} | set(Path.cwd().glob("*"))


def memory_mib(running: Running) -> int:
    """Resident memory of the process."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10

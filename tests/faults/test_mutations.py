"""I17, I18: seeded damage to PDUs and data sets: the listener lives, answers in time, keeps only
what can be read back, and writes nowhere else."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign import Injection, often
from front import Front
from mutations import hostile, misnamed
from processes import Running
from pydicom import Dataset, dcmread
from tracing import NAMING, traced
from wire import AC, Wire

from dicom_node.ledger import Ledger
from dicom_node.store import InstanceStore, StoredFile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
]
THREADS, PAUSE_S, LONGEST_S, MOST_GROWTH_MIB = 16, 0.1, 5.0, 100


@pytest.mark.parametrize("way", ["", "fast_path = false"], ids=["fast path", "library"])
def test_mutations(way, campaign, tmp_path):
    count = often(1500, 90_000) if not way else often(300, 10_000)
    front = Front(tmp_path / "node", campaign, "mutations", way)
    listener = front.listen()
    assert listener.ready()
    before, resident = outside(tmp_path), memory_mib(listener)
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=knock, args=[front.port, range(n, count, THREADS), outcomes])
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
    assert len(outcomes) == count, "every seed was tried"
    assert sum(outcome.acknowledged for outcome in outcomes) > 0
    for outcome in outcomes:
        campaign.injections.append(
            Injection(
                "mutations", way or "fast path",
                survived=outcome.is_ended and outcome.seconds < LONGEST_S,
                recovery_s=outcome.seconds,
                note="" if outcome.is_ended else f"seed {outcome.seed}: {outcome.fault}",
            )
        )  # fmt: skip
    campaign.add(
        Injection(
            "mutations", f"{way or 'fast path'}: the listener after them",
            survived=alive and grown < MOST_GROWTH_MIB,
            lost=len(unreadable),
            note=f"{grown} MiB more, unreadable: {unreadable[:3]}",
        )
    )  # fmt: skip
    failed = [outcome for outcome in outcomes if not outcome.is_ended]
    assert not failed, failed[:5]
    assert max(outcome.seconds for outcome in outcomes) < LONGEST_S


@pytest.mark.parametrize("way", ["", "fast_path = false"], ids=["fast path", "library"])
def test_no_name_on_the_wire_leads_out_of_the_data_folder(way, tool, campaign, tmp_path):
    """I17, by every call of the listener that names a file."""
    front = Front(tmp_path / "node", campaign, "names", way)
    listener = front.listen()
    assert listener.ready()
    data = front.folder.resolve() / "data"
    cwd = Path(f"/proc/{listener.pid}/cwd").resolve()
    options = ("-e", f"trace={NAMING}")
    with (
        traced(tool("strace"), listener.pid, tmp_path / "trace", *options) as trace,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        seeds = range(often(50 if way else 200, 2000))
        statuses = list(pool.map(lambda seed: status_of(front.port, *misnamed(seed)), seeds))
    listener.kill(15)
    changed = set(trace.changed(cwd))
    outside = {path for path in changed if not path.is_relative_to(data)}
    assert changed & set((data / "store").rglob("*.pack")), "it is told where files are made"
    assert {status for status in statuses if statuses.count(status) > 4} >= {None, 0, 0x0117}
    note = f"{sorted(outside)[:3]}"
    campaign.add(Injection("names", way or "fast path", survived=not outside, note=note))


def status_of(port: int, request: bytes, store: bytes) -> int | None:
    """Of the C-STORE; none where there is no association."""
    with Wire.connect(port) as wire:
        wire.send(request)
        answer = wire.receive()
        if answer is None or answer[0] != AC:
            return None
        wire.send(store)
        return wire.status()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one conversation."""

    seed: int
    seconds: float
    acknowledged: int
    is_ended: bool
    """The listener took the connection, and closed it once we had hung up."""
    fault: str = ""


def knock(port: int, seeds: range, outcomes: list[Outcome]) -> None:
    for seed in seeds:
        began = time.monotonic()
        heard, fault = b"", ""
        try:
            heard = converse(port, hostile(seed))
        except OSError as error:
            fault = repr(error)
        took = time.monotonic() - began
        outcomes.append(Outcome(seed, took, heard.count(SUCCESS), not fault, fault))


SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"
"""Status (0000,0900) 0x0000 of a response."""


def converse(port: int, says: bytes) -> bytes:
    """Say it all; once nothing more comes for a moment, hang up, and wait for the other.

    Raises ``TimeoutError`` where that does not hang up, ``ConnectionError`` where it is not there.
    """
    heard = b""
    with socket.create_connection(("127.0.0.1", port), 4 * LONGEST_S) as sock:
        with suppress(OSError):
            sock.sendall(says)
            sock.settimeout(PAUSE_S)
            while chunk := sock.recv(65536):
                heard += chunk
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        sock.settimeout(4 * LONGEST_S)
        heard += all_from(sock)
    return heard


def all_from(sock: socket.socket) -> bytes:
    heard = b""
    with suppress(ConnectionError):
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

"""The receivers that are compared: each one a process, on a free port, over a fresh folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sinks import SINKS, sink

from dicom_node.domain.errors import PeerUnreachable
from dicom_node.redis_server import free_port
from dicom_node.send.cstore import Peer, echo

NODE, NODE_OS, STORESCP, FORK, ORTHANC, STOCK = (
    "node", "node os", "DCMTK storescp", "DCMTK storescp --fork", "Orthanc", "pynetdicom storescp",
)  # fmt: skip
IGNORE = "DCMTK storescp --ignore"
"""Takes the images and keeps none: what these senders can give at most."""
TICKS = os.sysconf("SC_CLK_TCK")
AE = "DICOM_NODE"


@dataclass
class Receiver:
    """A running receiver."""

    port: int
    pid: int
    """Of the process whose cost is measured; 0: none."""

    def cpu_s(self) -> float:
        """CPU seconds so far, of the process and its children."""
        return sum(_cpu_s(pid) for pid in _family(self.pid)) if self.pid else 0.0

    def rss_mib(self) -> float:
        """Resident memory now, of the process and its children."""
        return sum(_rss_mib(pid) for pid in _family(self.pid)) if self.pid else 0.0


@contextmanager
def running(name: str, folder: Path) -> Iterator[Receiver]:
    """Start a receiver by its name; stop it at the end of the block. The folder stays."""
    folder.mkdir(parents=True)
    port = free_port()
    if name in SINKS:
        with sink(name, folder, port):
            yield Receiver(port, 0)
        return
    environment = {**os.environ, "TCP_NODELAY": "1", "PYTHONSAFEPATH": "1"}
    command = _COMMANDS[name](folder, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait(process, port, folder / "log")
            yield Receiver(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _node(folder: Path, port: int, durability: str, processes: int = 1) -> list[str]:
    config = folder / "dicom-node.toml"
    config.write_text(
        f'data_dir = "{folder / "data"}"\n[log]\nlevel = "ERROR"\n'
        f'[listen]\nport = {port}\ndurability = "{durability}"\nprocesses = {processes}\n'
    )
    return [sys.executable, "-P", "-m", "dicom_node", "listen", "--config", str(config)]


def _orthanc(folder: Path, port: int) -> list[str]:
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
                "HttpServerEnabled": False, "DicomPort": port, "DicomAet": AE,
                "StorageCompression": False, "OverwriteInstances": True,
                "DicomScpTimeout": 60, "Plugins": [],
            }
        )
    )  # fmt: skip
    return ["Orthanc", str(config)]


_COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {
    NODE: lambda folder, port: _node(folder, port, "full"),
    NODE_OS: lambda folder, port: _node(folder, port, "os"),
    STORESCP: lambda folder, port: ["storescp", "+xa", "-od", str(folder), str(port)],
    FORK: lambda folder, port: ["storescp", "--fork", "+xa", "-od", str(folder), str(port)],
    IGNORE: lambda folder, port: ["storescp", "--ignore", "+xa", str(port)],
    ORTHANC: _orthanc,
    STOCK: lambda folder, port: [
        sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder), "-q",
    ],
}  # fmt: skip


def two_processes(folder: Path, port: int) -> list[str]:
    """The node with two listener processes on the one port."""
    return _node(folder, port, "os", 2)


_COMMANDS["node os, 2 processes"] = two_processes


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        try:
            return echo(Peer("127.0.0.1", port, AE, "BENCH"))
        except PeerUnreachable:
            time.sleep(0.1)
    raise TimeoutError(log.read_text()[-2000:])


def _family(pid: int) -> list[int]:
    found = _read(Path(f"/proc/{pid}/task/{pid}/children")).split()
    return [pid, *(descendant for child in found for descendant in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def _rss_mib(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/statm")).split() or (0, 0)
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _read(path: Path) -> str:
    """Nothing, where the process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def clear(folder: Path) -> None:
    """Delete what the receivers wrote. ext4 is slow beside files deleted just before: wait."""
    shutil.rmtree(folder)
    os.sync()
    time.sleep(6)

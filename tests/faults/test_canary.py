"""I14: no patient is told of outside the store, the ledger, the results: with a canary in every
study, no log, no message, no metric, no process holds it, whatever end the study comes to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from campaign import Injection
from canary import hits, marked
from node import Node, ended, running_node
from processes import wait_until
from pydicom.uid import generate_uid
from redis import Redis
from redis.exceptions import RedisError
from wire import Wire, encoded

from dicom_node.ledger.pages import StudyPage
from dicom_node.send.cstore import Peer
from dicom_node.testing.pacs import FakePacs
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytestmark = [
    pytest.mark.slow, pytest.mark.redis, pytest.mark.tensorflow, pytest.mark.timeout(600),
]  # fmt: skip
URL = b"DICOM_NODE__BROKER__URL="


def whole(seed: int) -> list[Any]:
    return [marked(data) for data in make_study(phantom(seed, slices=12, size=64))]


def tilted(seed: int) -> list[Any]:
    study = whole(seed)
    for number, data in enumerate(study):
        data.ImagePositionPatient[1] += number
    return study


def mixed(seed: int) -> list[Any]:
    study = whole(seed)
    study[3].PatientID = "ZZPHI-OTHER"
    return study


def unread(seed: int) -> list[Any]:
    study = whole(seed)
    for data in study:
        data.Modality = "MR"
    return study


ENDS = (whole, tilted, mixed, unread)
STATES = {"ANALYSED", "QUARANTINED", "DECLINED"}
REASONS = ("GEOMETRY", "PATIENT_MIX", "NO_MODEL", "UID_MISMATCH", "UNPARSEABLE")
"""Of the studies above, of two refusals at the door."""


@dataclass
class Watch:
    """What Redis is told while it runs, and the processes of the node are."""

    node: Node
    said: dict[str, bytes] = field(default_factory=dict)
    commands: list[bytes] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)

    def processes(self) -> None:
        """Look at arguments and environment of every process."""
        for pid in family(self.node.process.pid):
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    self.said[f"{name} of {pid}"] = Path(f"/proc/{pid}/{name}").read_bytes()

    def redis_url(self) -> str:
        """From the environment of a role."""
        self.processes()
        lines = (line for said in self.said.values() for line in said.split(b"\0"))
        return next(x.removeprefix(URL).decode() for x in lines if x.startswith(URL))

    def send(self, study: list[Any], folder: Path) -> None:
        """Send a study, to be waited for."""
        self.studies.append(str(study[0].StudyInstanceUID))
        self.node.send(save_study(study, folder))

    def pages(self) -> list[StudyPage]:
        """Of the studies that the sweep has closed."""
        found = [self.node.ledger.pages.study(uid) for uid in self.studies]
        return [page for page in found if page]

    def settled(self) -> bool:
        """Look; whether every study has come to its end."""
        self.processes()
        return len(self.pages()) == len(ENDS) and all(map(ended, self.pages()))

    def states(self) -> set[str]:
        """Of studies and jobs."""
        jobs = {job["state"] for page in self.pages() for job in page.jobs}
        return jobs | {page.study["state"] for page in self.pages()}


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in each.read_text().split():
                yield from family(int(child))


@contextmanager
def monitored(redis: Redis, commands: list[bytes]) -> Iterator[None]:
    """Note every command that Redis gets while the block runs."""

    def listen() -> None:
        with suppress(RedisError, OSError, ValueError), redis.monitor() as monitor:
            commands.append(b"MONITOR")
            commands.extend(heard["command"].encode() for heard in monitor.listen())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wait_until(lambda: commands, "MONITOR")
    yield


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_of_a_patient_is_told(form, tool, campaign, tmp_path, monkeypatch):
    tool("redis-server")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("DICOM_NODE__LOG__FORMAT", form)
    monkeypatch.setenv("DICOM_NODE__LOG__LEVEL", "DEBUG")
    with FakePacs(tmp_path / "pacs") as pacs:
        peer = Peer(pacs.host, pacs.port, pacs.ae_title, "NODE")
        with running_node(tmp_path / "node", peer) as node:
            told = told_by(node, tmp_path)
        told |= files(tmp_path / "node") | files(tmp_path / "tmp")
        assert hits(files(pacs.folder)), "the results are a patient's"
    log = told["node.log"].decode()
    assert [reason for reason in REASONS if reason not in log] == []
    assert ('"event": "job' in log) == (form == "json"), log[-500:]
    found = hits(told)
    fault = f"canary at every end, log as {form}"
    campaign.add(Injection("privacy", fault, not found, note=str(found)))


def told_by(node: Node, folder: Path) -> dict[str, bytes]:
    """All that a running node tells while studies come to every end."""
    watch = Watch(node)
    with Redis.from_url(watch.redis_url()) as redis, monitored(redis, watch.commands):
        for seed, make in enumerate(ENDS, 32_000):
            watch.send(make(seed), folder / "sent" / make.__name__)
        refused_at_the_door(node.settings.listen.port)
        wait_until(watch.settled, "the ends", 240)
        assert watch.states() >= STATES
        redis.save()
        keys = list(redis.scan_iter("*"))
        watch.said["redis"] = b"\n".join([*keys, *map(redis.dump, keys), *watch.commands])
        assert b'"analyse"' in watch.said["redis"]
        for path in ("/metrics", "/healthz", "/readyz"):
            watch.said[path] = httpx.get(f"{node.page}{path}").raise_for_status().content
    return watch.said


def refused_at_the_door(port: int) -> None:
    """An instance that is not the one that its command names, and bytes that are no data set."""
    data = encoded(whole(1)[0])
    for content in (data, data.replace(b"CT\0", b"ZZ\0")[:400] + b"ZZPHI^CANARY" * 9):
        with Wire.connect(port) as wire:
            assert wire.associate() == 2
            assert wire.store(content, sop_instance=generate_uid())


def files(folder: Path) -> dict[str, bytes]:
    """Every file but those in which patients belong: the store, the ledger."""
    paths = [p for p in folder.rglob("*") if p.is_file() and "store" not in p.parts]
    paths = [p for p in paths if not p.name.startswith("ledger.sqlite3")]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}

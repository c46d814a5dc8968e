"""The whole node as its users run it: ``dicom-node serve`` in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain.errors import PeerUnreachable
from dicom_node.ledger import Ledger
from dicom_node.ledger.pages import StudyPage
from dicom_node.redis_server import free_port
from dicom_node.send.cstore import Answer, Outcome, Peer, echo, send
from dicom_node.settings.node import Settings
from dicom_node.settings.sources import load_settings
from dicom_node.store import InstanceStore


@dataclass
class Node:
    """A running node, and the ledger behind it."""

    settings: Settings
    ledger: Ledger
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def peer(self) -> Peer:
        """Where to send studies to."""
        listen = self.settings.listen
        return Peer(listen.host, listen.port, listen.ae_title, "MODALITY")

    @property
    def store(self) -> InstanceStore:
        """Where its objects are."""
        return InstanceStore(self.settings.store_dir)

    @property
    def page(self) -> str:
        """Address of the web page."""
        return f"http://{self.settings.web.host}:{self.settings.web.port}"

    def send(self, files: Sequence[Path]) -> list[Outcome]:
        """Send files; every one must arrive."""
        outcomes = list(send(self.peer, files))
        assert {o.answer for o in outcomes} == {Answer.SENT}, outcomes
        return outcomes

    def wait(self, study_instance_uid: str, timeout_s: float = 240) -> StudyPage:
        """The study once nothing of it waits any more."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            page = self.ledger.pages.study(study_instance_uid)
            if page is not None and ended(page):
                return page
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.25)
        raise TimeoutError(self.log.read_text()[-4000:])

    def wait_for_proof(self, study_instance_uid: str) -> StudyPage:
        """Until no proof is asked for any more."""
        page: StudyPage | None = None

        def proven() -> bool:
            nonlocal page
            page = self.ledger.pages.study(study_instance_uid)
            return page is not None and not any(d["proof"] for d in page.deliveries)

        self.wait_for(proven)
        assert page
        return page

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Until a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.25)


def ended(page: StudyPage) -> bool:
    """Whether the study, its jobs and its deliveries have come to an end."""
    return (
        page.study["state"] != "RECEIVING"
        and all(job["state"] not in ("READY", "ANALYSING") for job in page.jobs)
        and all(job["answered"] or job["state"] in ("ANALYSED", "CANCELLED") for job in page.jobs)
        and all(d["state"] not in ("READY", "SENDING") for d in page.deliveries)
    )


@contextmanager
def running_node(folder: Path, destination: Peer | None, extra: str = "") -> Iterator[Node]:
    """``dicom-node serve`` with its data in a folder; ended by SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dicom-node.toml"
    config.write_text(_config(folder, destination) + extra)
    settings = load_settings(config)
    log = folder / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dicom_node", "serve", "--config", str(config)],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        try:
            node = Node(settings, _ledger(settings, process, log), process, log)
            _wait_for_listener(node)
            yield node
            node.ledger.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _config(folder: Path, destination: Peer | None) -> str:
    text = f"""
data_dir = "{folder / "data"}"
[listen]
port = {free_port()}
[web]
port = {free_port()}
[completeness]
quiet_s = 2
[sweep]
interval_s = 0.2
[log]
format = "text"
"""
    if destination is None:
        return text
    return (
        text
        + f"""
[[destinations]]
name = "pacs"
host = "{destination.host}"
port = {destination.port}
ae_title = "{destination.ae_title}"
"""
    )


def _ledger(settings: Settings, process: subprocess.Popen[bytes], log: Path) -> Ledger:
    file = settings.data_dir / "ledger.sqlite3"
    for _ in range(300):
        if file.exists():
            return Ledger.open(settings.ledger_url)
        assert process.poll() is None, log.read_text()[-4000:]
        time.sleep(0.1)
    raise TimeoutError(log.read_text()[-4000:])


def _wait_for_listener(node: Node) -> None:
    for _ in range(300):
        try:
            return echo(node.peer)
        except PeerUnreachable:
            assert node.process.poll() is None, node.log.read_text()[-4000:]
            time.sleep(0.1)
    raise TimeoutError(node.log.read_text()[-4000:])

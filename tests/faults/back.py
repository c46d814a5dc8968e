"""Behind the door: sweep, Celery worker, Redis and an archive, and what must come of each study.

What is analysed lies in packs, as the listener wrote it: studies come by C-STORE.
"""

import hashlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from campaign import Campaign, Injection
from processes import Running, launch, start, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from redis import Redis
from redis.exceptions import RedisError
from stand_in import KINDS, image, objects
from wire import AC, Wire, encoded

from dicom_node.ledger import Ledger
from dicom_node.receive.incoming import file_head
from dicom_node.redis_server import free_port
from dicom_node.store import InstanceStore
from dicom_node.testing.pacs import FakePacs
from dicom_node.verify import Wrong, verify

LEASE_S, IMAGES, LONGEST_S = 2.0, 4, 60.0
EVENT = {"sweep": "sweep.ready", "worker": "worker.ready"}


@dataclass
class Back:
    """The parts of one node behind its door; use as a context."""

    folder: Path
    campaign: Campaign
    pacs: FakePacs
    redis_program: str
    area: str = "jobs"
    completeness: str = "quiet_s = 0.5"
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the listener, beside ours."""
    studies: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """(SOP Instance UID, SHA-256) of what each study must be analysed from."""

    def __enter__(self) -> "Back":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis_port, self.port = free_port(), free_port()
        self.redis = Redis(port=self.redis_port, socket_timeout=2)
        self.config = self.folder / "node.toml"
        self.config.write_text(
            f'data_dir = "{self.folder / "data"}"\n'
            f'broker.url = "redis://127.0.0.1:{self.redis_port}/0"\n'
            f"[listen]\nport = {self.port}\nreserve_mib = 1\n"
            f"[completeness]\n{self.completeness}\n"
            f"[sweep]\ninterval_s = 0.1\nring_again_s = 1\nlease_s = {LEASE_S}\n"
            "[worker]\nsoft_limit_s = 10\nhard_limit_s = 15\n"
            f'[[destinations]]\nname = "pacs"\nhost = "{self.pacs.host}"\n'
            f'port = {self.pacs.port}\nae_title = "{self.pacs.ae_title}"\n'
            'proof = "none"\n'  # of which test_proof tells: here calls of a worker are counted
        )
        self.ledger = Ledger.open(f"sqlite:///{self.folder / 'data' / 'ledger.sqlite3'}")
        self.store = InstanceStore(self.folder / "data" / "store")
        self.start_redis()
        self.listener = launch("listen", self.config, self.environment)
        assert self.listener.ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.kill(signal.SIGTERM)
        self.stop_redis()
        self.redis.close()
        self.ledger.close()

    def start_redis(self) -> None:
        """An own server with an append-only file."""
        folder = self.folder / "redis"
        folder.mkdir(exist_ok=True)
        options = [
            "--appendonly",
            "yes",
            "--save",
            "",
            "--dir",
            str(folder),
            "--loglevel",
            "warning",
        ]
        command = [self.redis_program, "--port", str(self.redis_port), "--bind", "127.0.0.1"]
        with (self.folder / "redis.log").open("ab") as log:
            self.server = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        wait_until(self._pings, "redis-server")

    def stop_redis(self) -> None:
        """As a power loss does."""
        self.server.kill()
        self.server.wait()

    def _pings(self) -> bool:
        with suppress(RedisError):
            return bool(self.redis.ping())
        return False

    def start(self, role: str, plan: str = "") -> Running:
        """Start the sweep or a worker."""
        running = start(role, self.config, plan)
        assert running.ready(EVENT[role]), running.log.read_text()
        return running

    def study(self, images: int = IMAGES, **attributes: object) -> str:
        """Receive a study; returns its UID."""
        return self.receive(self.new_number(), *range(1, images + 1), **attributes)

    def new_number(self) -> int:
        """Of a study."""
        return int(time.monotonic_ns() % 10**9)

    def receive(self, study: int, *numbers: int, **attributes: object) -> str:
        """Send images of a study by C-STORE; returns its UID once they have their rows."""
        with Wire.connect(self.port) as wire:
            assert wire.associate() == AC
            for number in numbers:
                data = image(study, number, **attributes)
                uid = str(data.StudyInstanceUID)
                self.studies.setdefault(uid, []).append(_stored(wire, data))
        wait_until(lambda: self._in_packs(uid) == set(self.studies[uid]), "rows")
        return uid

    def _in_packs(self, uid: str) -> set[tuple[str, str]]:
        received = self.ledger.studies.instances(uid)
        return {(i.sop_instance_uid, i.sha256) for i in received if i.pack}

    def finished(self, uid: str) -> bool:
        """Analysed in full, and everything sent."""
        page = self.ledger.pages.study(uid)
        latest = page.jobs[0] if page and page.jobs else None
        return bool(
            page and latest and page.study["state"] == "ROUTED"
            and latest["state"] == "ANALYSED"
            and {r["sop_instance_uid"] for r in page.results} >= self.expected(uid)
            and all(d["state"] == "SENT" for d in page.deliveries)
        )  # fmt: skip

    def expected(self, uid: str) -> set[str]:
        """SOP Instance UIDs of the results of the whole study."""
        return {str(data.SOPInstanceUID) for _, data in objects(uid, self.studies[uid])}

    def wait(self, *uids: str) -> float:
        """Until studies are finished; returns how long that took."""
        return wait_until(lambda: all(map(self.finished, uids)), "the studies", LONGEST_S)

    def judged(self, fault: str, began: float, *uids: str) -> None:
        """Wait for the studies, compare ledger, store and archive with what must be. One record."""
        survived = True
        try:
            self.wait(*uids)
        except AssertionError:
            survived = False
        took = time.monotonic() - began
        lost, twice = self.look(*uids)
        note = "" if survived and not lost + twice else self.told(*uids)
        self.campaign.add(Injection(self.area, fault, survived, lost, twice, took, note))

    def look(self, *uids: str) -> tuple[int, int]:
        """(objects that the archive lacks or files that are wrong, objects that are too many)."""
        pages = [page for uid in uids if (page := self.ledger.pages.study(uid))]
        arrived = {received.sop_instance_uid for received in self.pacs.received}
        lost = sum(len(self.expected(uid) - arrived) for uid in uids)
        lost += sum(p.wrong is not Wrong.ORPHAN for p in verify(self.ledger, self.store))
        made = Counter(r["job_id"] for page in pages for r in page.results)
        inputs = Counter(
            (j["study_instance_uid"], j["generation"], j["model_name"])
            for page in pages for j in page.jobs
        )  # fmt: skip
        twice = sum(max(0, n - len(KINDS)) for n in made.values())
        return lost, twice + sum(n - 1 for n in inputs.values())

    def told(self, *uids: str) -> str:
        """What the ledger and the logs say."""
        pages = [self.ledger.pages.study(uid) for uid in uids]
        jobs = [(j["state"], j["reason"], j["attempt"]) for p in pages if p for j in p.jobs]
        sent = [(d["state"], d["reason"]) for p in pages if p for d in p.deliveries]
        logs = [log.read_text()[-800:] for log in sorted(self.folder.glob("*.log"))]
        return f"{jobs} {sent} {logs}"


def _stored(wire: Wire, data: Dataset) -> tuple[str, str]:
    """(SOP Instance UID, SHA-256) of an image that the listener has acknowledged."""
    uid, raw = str(data.SOPInstanceUID), encoded(data)
    assert wire.store(raw, sop_instance=uid) == 0
    head = file_head(CTImageStorage, uid, ExplicitVRLittleEndian)
    return uid, hashlib.sha256(head + raw).hexdigest()


def stop_all(*running: Running) -> None:
    """Kill processes with the children they have."""
    for each in running:
        each.kill_family()


def freeze(pid: int, seconds: float) -> None:
    """SIGSTOP for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)

"""The door as a process: senders in front of it, and what must be behind it afterwards."""

import hashlib
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from campaign import Campaign, Injection
from processes import Running, start, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from wire import AC, Wire, command, encoded, pdv

from dicom_node.ledger import Ledger
from dicom_node.receive.incoming import file_head
from dicom_node.redis_server import free_port
from dicom_node.store import InstanceStore
from dicom_node.verify import Problem, Wrong, verify

SENDERS = 4
MOST_ROUNDS = 20
FRAGMENT = 60_000


@dataclass(frozen=True, slots=True)
class Image:
    """An instance to send, and the hash that its file must have."""

    uid: str
    data: bytes
    sha256: str


def image(study: int, number: int, size: int = 512) -> Image:
    """A CT image of ``size`` bytes of pixels."""
    uid = f"1.2.3.{study}.{number}"
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, uid
    data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.3.{study}.0"
    data.Rows, data.Columns = size // 200, 100
    data.PixelData = number.to_bytes(2, "little") * (size // 2)
    data["PixelData"].VR = "OW"
    raw = encoded(data)
    whole = file_head(CTImageStorage, uid, ExplicitVRLittleEndian) + raw
    return Image(uid, raw, hashlib.sha256(whole).hexdigest())


@dataclass
class Front:
    """A data folder, the listener over it, and what that acknowledged."""

    folder: Path
    campaign: Campaign
    area: str
    settings: str = ""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """SHA-256 by SOP Instance UID."""
    studies: int = 0
    sent: list[Image] = field(default_factory=list)
    """Everything that anybody tried to send."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = self.folder / "node.toml"
        self.config.write_text(
            f'data_dir = "{self.folder / "data"}"\n[listen]\nport = {self.port}\n'
            f"reserve_mib = 1\n{self.settings}\n"
        )

    def send_again(self, images: list[Image]) -> list[Image]:
        """As a modality does: what was refused goes again until it is taken, or 20 s are over."""
        with suppress(AssertionError):
            wait_until(lambda: not self.send(images), "a place for what was refused", 20)
        return [i for i in images if i.uid not in self.acknowledged]

    def listen(self, plan: str = "") -> Running:
        """Start a listener."""
        return start("listen", self.config, plan)

    def images(self, count: int, size: int = 512) -> list[Image]:
        """Images of a new study."""
        self.studies += 1
        return [image(self.studies, number, size) for number in range(1, count + 1)]

    def send(self, images: list[Image], senders: int = SENDERS) -> list[Image]:
        """Send over several associations at once; returns what was not acknowledged."""
        self.sent += images
        threads = [
            threading.Thread(target=self._send, args=[images[n::senders]]) for n in range(senders)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [i for i in images if i.uid not in self.acknowledged]

    def _send(self, images: list[Image]) -> None:
        with suppress(OSError, AssertionError), Wire.connect(self.port) as wire:
            if wire.associate() != AC:
                return
            for each in images:
                status = _store(wire, each)
                if status is None:
                    return
                if status == 0:
                    self.acknowledged[each.uid] = each.sha256

    def send_until_killed(self, plan: str, size: int = 512) -> list[Image]:
        """Send to a listener with a fault plan; it must meet its fault."""
        listener = self.listen(plan)
        left = images = self.images(4 * SENDERS, size)
        alive, rounds = listener.ready(), 0
        while alive:
            left = self.send(images)
            alive, rounds = not listener.ended(0.2), rounds + 1
            assert rounds < MOST_ROUNDS, f"{plan} was not reached"
            images = self.images(4 * SENDERS, size)
        assert listener.process.exitcode == -signal.SIGKILL, listener.log.read_text()
        return left

    def send_by(self, storescu: str, images: list[Image]) -> list[Image]:
        """The same by four DCMTK ``storescu``; what they say arrived counts as acknowledged."""
        folders = [self.folder / "out" / f"{self.studies}-{n}" for n in range(SENDERS)]
        for number, each in enumerate(images):
            folder = folders[number % SENDERS]
            folder.mkdir(parents=True, exist_ok=True)
            head = file_head(CTImageStorage, each.uid, ExplicitVRLittleEndian)
            (folder / each.uid).write_bytes(head + each.data)
        program = [storescu, "-v", "-aec", "DICOM_NODE", "+sd", "localhost", str(self.port)]
        running = [
            subprocess.Popen([*program, str(f)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for f in folders
        ]
        said = b"".join(process.communicate(timeout=60)[0] for process in running).decode()
        current = ""
        for line in said.splitlines():
            if "Sending file: " in line:
                current = line.rpartition("/")[2]
            elif "Received Store Response (Success)" in line:
                self.acknowledged[current] = next(i.sha256 for i in images if i.uid == current)
        return [i for i in images if i.uid not in self.acknowledged]

    def recovered(self, fault: str, unsent: list[Image]) -> None:
        """Start again; nothing may be missing, and the senders get the rest in. One record."""
        began = time.monotonic()
        listener = self.listen()
        ready = listener.ready()
        took = time.monotonic() - began
        lost, duplicates = self.look() if ready else (len(self.acknowledged), 0)
        left = self.send(unsent) if ready else unsent
        listener.kill(15)
        after = self.look()
        self.campaign.add(
            Injection(
                self.area, fault,
                survived=ready and not left,
                lost=max(lost, after[0]),
                duplicates=max(duplicates, after[1]),
                recovery_s=took,
                note=listener.log.read_text()[-600:] if left or lost or not ready else "",
            )
        )  # fmt: skip

    def look(self) -> tuple[int, int]:
        """(acknowledged instances without row or sound file, rows or arrivals too many)."""
        ledger = Ledger.open(f"sqlite:///{self.folder / 'data' / 'ledger.sqlite3'}")
        store = InstanceStore(self.folder / "data" / "store")
        unsound = {p.filed.sha256 for p in verify(ledger, store) if p.wrong is not Wrong.ORPHAN}
        rows = [(f.sop_instance_uid, f.sha256) for f in ledger.inventory.files()]
        arrivals = sum(study.arrivals for study in ledger.studies.receiving())
        ledger.close()
        sound = {row for row in rows if row[1] not in unsound}
        lost = [uid for uid, sha in self.acknowledged.items() if (uid, sha) not in sound]
        twice = sum(count - 1 for count in Counter(uid for uid, _ in rows).values())
        return len(lost), twice + abs(arrivals - len(rows))

    def problems(self) -> list[Problem]:
        """What ``dicom-node verify`` finds."""
        ledger = Ledger.open(f"sqlite:///{self.folder / 'data' / 'ledger.sqlite3'}")
        found = list(verify(ledger, InstanceStore(self.folder / "data" / "store")))
        ledger.close()
        return found

    def settled(self) -> None:
        """Wait until everything acknowledged has its row."""
        wait_until(lambda: self.look() == (0, 0), "the rows of what was acknowledged")


def _store(wire: Wire, each: Image) -> int | None:
    """C-STORE in fragments; the status, or none when there was no answer."""
    parts = [each.data[n : n + FRAGMENT] for n in range(0, len(each.data), FRAGMENT)]
    wire.send(pdv(command(sop_instance=each.uid), command=True))
    for number, part in enumerate(parts, 1):
        wire.send(pdv(part, last=number == len(parts)))
    return wire.status()

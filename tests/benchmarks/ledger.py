"""What the ledger costs when it is full: 1,000,000 instances of 20,000 studies in SQLite, each with
a job and what was sent of it."""

import hashlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from history import add_past
from measure import Row

from dicom_node.domain.study import Instance, StudyState
from dicom_node.ledger import Ledger
from dicom_node.ledger.schema import study
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore
from dicom_node.sweep import Sweep
from dicom_node.testing.broker import RecordingBroker

SMALL, LARGE, STUDIES = 10_000, 1_000_000, 20_000
BATCH, ROUNDS = 100, 60
"""What the recorder writes at once under load, and how often it is timed."""


def rows() -> Iterator[Row]:
    """Microseconds an instance, small and large in turn; milliseconds of an idle sweep."""
    with TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        small = _filled(folder / "small", SMALL, SMALL // 50)
        large = _filled(folder / "large", LARGE, STUDIES)
        costs: dict[str, list[float]] = {"small": [], "large": []}
        for number in range(ROUNDS):
            for name, ledger in (("small", small), ("large", large)):
                costs[name].append(_cost_us(ledger, number))
        few, many = (statistics.median(costs[name]) for name in ("small", "large"))
        yield Row(
            "ledger.record.1000000.us_per_instance", many, "us", f"{SMALL} instances", many / few
        )
        yield Row("ledger.sweep.1000000.idle_ms", _idle_sweep_ms(large, folder), "ms")
        small.close()
        large.close()


def _filled(folder: Path, instances: int, studies: int) -> Ledger:
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
    each = instances // studies
    for start in range(0, studies, 100):
        rows = [
            (_instance(number, image), "MODALITY")
            for number in range(start, start + 100)
            for image in range(each)
        ]
        ledger.studies.record_all(rows)
    add_past(ledger)
    with ledger.database.write() as connection:
        connection.execute(study.update().values(state=StudyState.ROUTED))
    return ledger


def _cost_us(ledger: Ledger, number: int) -> float:
    rows = [(_instance(10**6 + number, image), "MODALITY") for image in range(BATCH)]
    started = time.perf_counter()
    ledger.studies.record_all(rows)
    return (time.perf_counter() - started) / BATCH * 1e6


def _instance(number: int, image: int) -> Instance:
    """UIDs as a scanner makes them: a root, a serial number, times and counters."""
    day, serial = number % 28 + 1, number * 7919 % 10**9
    uid = f"1.3.12.2.1107.5.1.4.73104.30000026{day:02d}{serial:09d}.{number}"
    sha256 = hashlib.sha256(f"{number}.{image}".encode()).hexdigest()
    ct, explicit = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
    return Instance(uid, f"{uid}.1", f"{uid}.1.{image}", ct, explicit, sha256, 525_000)


def _idle_sweep_ms(ledger: Ledger, folder: Path) -> float:
    with ledger.database.write() as connection:
        connection.execute(study.update().values(state=StudyState.ROUTED))
    store = InstanceStore(folder / "store")
    sweep = Sweep(Settings(), ledger, store, RecordingBroker(), [])
    times = []
    for _ in range(50):
        started = time.perf_counter()
        sweep.once()
        times.append((time.perf_counter() - started) * 1e3)
    sweep.close()
    return statistics.median(times)

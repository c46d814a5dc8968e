"""I4: a disk that is full refuses with A700, and takes again once there is room; no restart."""

import os
import signal
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from campaign import Injection, often
from front import Front
from processes import is_stopped, wait_until

from dicom_node.supervise import GRACE_S

pytestmark = pytest.mark.slow
SIZE_MIB, MOST_AGAIN = 64, 20
WAYS = {"durable": "", "os": 'durability = "os"'}


@contextmanager
def small_disk(folder: Path):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs needs root and mount(8)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [100_000, 900_000, 1_400_000])
def test_a_full_disk_refuses_and_recovers(way, size, campaign, tmp_path):
    for taken_mib in range(50, 50 - 3 * often(2, 6), -3):
        with small_disk(tmp_path / f"disk{taken_mib}") as disk:
            fill_and_free(Front(disk, campaign, "full disk", WAYS[way]), way, size, taken_mib)


def fill_and_free(front: Front, way: str, size: int, taken_mib: int) -> None:
    """Fill the disk by what arrives, free more than it lacks; the same process goes on."""
    ballast = front.folder / "ballast"
    ballast.write_bytes(bytes(taken_mib << 20))
    listener = front.listen()
    assert listener.ready(), listener.log.read_text()
    left = front.send(front.images((SIZE_MIB - taken_mib + 6 << 20) // size, size))
    assert left, "the disk was not filled"
    ballast.unlink()
    again = front.send_again(left[:MOST_AGAIN])
    alive = not listener.ended()
    front.settled()
    lost, twice = front.look()
    listener.kill(15)
    front.campaign.add(
        Injection("full disk", f"{way}, images of {size // 1000} kB", alive and not again,
                  lost, twice, note=listener.log.read_text()[-500:] if again or not alive else "")
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_told_to_stop_on_a_full_disk(way, campaign, tmp_path):
    """The ledger has no room for rows of what was acknowledged; the end comes in time all the
    same, and the next process finds them in the packs."""
    front = Front(tmp_path, campaign, "full disk", WAYS[way])
    with small_disk(tmp_path / "data") as disk:
        listener = front.listen("recorder.recording:1:STOP")
        assert listener.ready()
        wait_until(lambda: empties_journal(disk / "ledger.sqlite3"), "an empty journal")
        front.send(front.images(1))
        wait_until(lambda: is_stopped(listener.pid), "the moment before the rows")
        fill(disk / "filler")
        os.kill(listener.pid, signal.SIGCONT)
        wait_until(lambda: "ledger.waits" in listener.log.read_text(), "a ledger without room")
        assert front.acknowledged
        assert front.send(front.images(4)), "taken without room"
        os.kill(listener.pid, signal.SIGTERM)
        assert listener.ended(GRACE_S), listener.log.read_text()
        (disk / "filler").unlink()
        front.recovered("SIGTERM on a full disk", front.images(4))


def empties_journal(ledger: Path) -> bool:
    """Whether nobody held it; else a row may find room in what the journal took before."""
    with closing(sqlite3.connect(ledger)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def fill(path: Path) -> None:
    """Take all the room that there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass

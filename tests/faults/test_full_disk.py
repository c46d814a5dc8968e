"""I4: a disk that is full refuses with A700, and takes again once there is room; no restart."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from campaign import Injection, often
from front import Front

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

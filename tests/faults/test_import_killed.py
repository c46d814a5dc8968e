"""Files that do not come by C-STORE: the command is killed at each point, and any call to the disk
may fail; run again, it has taken every file once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import Campaign, Injection
from front import Front, image
from points import KEPT
from tracing import injecting

from dicom_node.receive.incoming import file_head
from dicom_node.store import InstanceStore

pytestmark = pytest.mark.slow
FILES = 12
CALLS = {
    "rename into the store": ["?rename", "?renameat", "?renameat2"],
    "sync": ["fsync"],
    "write": ["write"],
}


@pytest.mark.parametrize("point", KEPT)
def test_killed_at_a_point(point, campaign, tmp_path):
    front, folder = files(tmp_path, campaign)
    done = run_import(front, folder, plan=f"{point}:5")
    assert done.returncode == -signal.SIGKILL
    taken_at_last(front, folder, f"import killed at {point}")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("what", CALLS)
def test_a_call_fails(what, error, tool, campaign, tmp_path):
    front, folder = files(tmp_path, campaign)
    run_import(front, folder)  # so that all else is there already
    more = image(9, 1, 4096)
    save(folder, 9, 1)
    options = injecting(CALLS[what], error, "1+" if what != "write" else "2+")
    trace = tmp_path / "trace"
    done = run_import(front, folder, strace=[tool("strace"), "-f", "-o", str(trace), *options])
    assert "(INJECTED)" in trace.read_text()
    assert done.returncode != 0, "a file was said to be kept that was not"
    front.acknowledged[more.uid] = more.sha256
    taken_at_last(front, folder, f"import, {what} fails with {error}")


def files(tmp_path: Path, campaign: Campaign) -> tuple[Front, Path]:
    """A node and a folder of images."""
    front = Front(tmp_path / "node", campaign, "import")
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(1, FILES + 1):
        save(folder, 1, number)
        front.acknowledged[image(1, number, 4096).uid] = image(1, number, 4096).sha256
    return front, folder


def save(folder: Path, study: int, number: int) -> None:
    each = image(study, number, 4096)
    head = file_head("1.2.840.10008.5.1.4.1.1.2", each.uid, "1.2.840.10008.1.2.1")
    (folder / f"{study}-{number}.dcm").write_bytes(head + each.data)


def run_import(
    front: Front, folder: Path, *, plan: str = "", strace: list[str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-P", "-m", "dicom_node", "import", str(folder)]
    return subprocess.run(
        [*(strace or []), *command, "--config", str(front.config)],
        env={**os.environ, "DICOM_NODE_FAULT": plan},
        capture_output=True,
        timeout=60,
        check=False,
    )


def taken_at_last(front: Front, folder: Path, fault: str) -> None:
    """The same command again, without a fault. One record."""
    done = run_import(front, folder)
    lost, twice = front.look()
    incoming = InstanceStore(front.folder / "data" / "store").root / "incoming"
    left = [each for each in incoming.rglob("*") if each.is_file()]
    note = (done.stdout + done.stderr).decode()[-600:] if done.returncode or lost else ""
    survived = done.returncode == 0
    front.campaign.add(Injection("import", fault, survived, lost, twice, note=note))
    assert len(left) <= 1, "only what the killed process was writing may stay, until the next sweep"

"""Files that do not come by C-STORE: the command is killed at each point, and any call to the disk
may fail; run again, it has taken every file once."""

import os
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from campaign import Campaign, Injection
from front import Front, Image, image
from points import KEPT
from processes import PATIENCE_S, Running, is_stopped, start, wait_until
from tracing import injecting, traced

from dicom_node.receive.incoming import file_head
from dicom_node.store import InstanceStore

pytestmark = pytest.mark.slow
FILES = 12
CALLS = {
    "rename into the store": ["?rename", "?renameat", "?renameat2"],
    "sync": ["fsync"],
    "write": ["write"],
    "ledger commit": ["fdatasync"],
}


@pytest.mark.parametrize("point", KEPT)
def test_killed_at_a_point(point, campaign, tmp_path):
    front = files(tmp_path, campaign)
    assert run_import(front, plan=f"{point}:5").process.exitcode == -signal.SIGKILL
    taken_at_last(front, f"import killed at {point}")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("what", CALLS)
def test_a_call_fails(what, error, tool, campaign, tmp_path):
    front = files(tmp_path, campaign)
    run_import(front)  # so that all else is there already
    more = save(front, 9, 1)
    options = injecting(CALLS[what], error, "1+" if what != "write" else "2+")
    done = run_import(front, strace=[tool("strace"), *options])
    assert "(INJECTED)" in (front.folder / "trace").read_text()
    assert done.process.exitcode == 1, "a file was said to be kept that was not"
    front.acknowledged[more.uid] = more.sha256
    taken_at_last(front, f"import, {what} fails with {error}")


def files(folder: Path, campaign: Campaign) -> Front:
    """A node and a folder of images."""
    front = Front(folder, campaign, "import")
    (folder / "files").mkdir()
    for number in range(1, FILES + 1):
        each = save(front, 1, number)
        front.acknowledged[each.uid] = each.sha256
    return front


def save(front: Front, study: int, number: int) -> Image:
    each = image(study, number, 4096)
    head = file_head("1.2.840.10008.5.1.4.1.1.2", each.uid, "1.2.840.10008.1.2.1")
    (front.folder / "files" / f"{study}-{number}.dcm").write_bytes(head + each.data)
    return each


def run_import(front: Front, *, plan: str = "", strace: Sequence[str] = ()) -> Running:
    """The command, to its end."""
    running = start("import", front.config, plan)
    wait_until(lambda: is_stopped(running.pid), "the command")
    program, *options = strace or [""]
    look = traced(program, running.pid, front.folder / "trace", *options)
    with look if program else nullcontext():
        os.kill(running.pid, signal.SIGCONT)
        assert running.ended(PATIENCE_S)
    return running


def taken_at_last(front: Front, fault: str) -> None:
    """The same command again, without a fault. One record."""
    done = run_import(front)
    lost, twice = front.look()
    incoming = InstanceStore(front.folder / "data" / "store").root / "incoming"
    left = [each for each in incoming.rglob("*") if each.is_file()]
    survived = done.process.exitcode == 0
    note = "" if survived and not lost else done.log.read_text()[-600:]
    front.campaign.add(Injection("import", fault, survived, lost, twice, note=note))
    assert len(left) <= 1, "only what the killed process was writing may stay, until the next sweep"

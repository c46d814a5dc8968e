"""I1, I3: an answer leaves after the syncs that it promises, and any call to the disk may fail."""

import re

import pytest
from campaign import often
from front import MOST_ROUNDS, Front, Image
from tracing import Trace, injecting, traced

pytestmark = pytest.mark.slow
SMALL, LARGE = 20_000, 1_400_000
ORDER = (
    "trace=pwritev,pwritev2,fdatasync,fsync,syncfs,rename,link,copy_file_range,sendto,sendmsg,write"
)
WAYS = {"journal": "", "files": 'durability = "os"'}
CALLS = {
    # what fails: (the calls, in which way of keeping, size of the images)
    "journal write": (["pwritev", "pwritev2"], "journal", SMALL),
    "journal sync": (["fdatasync"], "journal", SMALL),
    "file sync, folder sync": (["fsync"], "journal", LARGE),
    "large file": (["write"], "journal", LARGE),
    "journal header, ledger write": (["pwrite64"], "journal", SMALL),
    "copy": (["copy_file_range"], "journal", SMALL),
    "rename": (["rename", "renameat", "renameat2"], "journal", SMALL),
    "sync of the file system": (["syncfs", "sync_file_range"], "journal", SMALL),
    "open": (["openat"], "journal", SMALL),
    "link": (["link", "linkat"], "files", SMALL),
    "whole file": (["writev"], "files", SMALL),
    "unlink": (["unlink", "unlinkat"], "files", SMALL),
    "ledger commit": (["fdatasync", "fsync"], "files", SMALL),
}
WHEN = ("1", "2+") if often(0, 1) == 0 else ("1", "2", "3", "5", "1+", "3+")


def test_an_answer_leaves_after_the_sync_of_the_journal(tool, campaign, tmp_path):
    """One association, one instance after the other: written, synced, answered, each time."""
    front = Front(tmp_path, campaign, "door")
    listener = front.listen()
    assert listener.ready()
    images = front.images(20, SMALL)
    with traced(tool("strace"), listener.pid, tmp_path / "trace", "-e", ORDER) as trace:
        assert front.send(images, senders=1) == []
        front.settled()
    listener.kill()
    steps = "".join(filter(None, map(_answer_step, trace.calls())))
    assert re.fullmatch(r"(WS+A){20}", steps), steps
    assert_files_before_rows(trace)


def _answer_step(call: tuple[str, str]) -> str:
    """W: an instance is written to the journal; S: the journal is synced; A: answered."""
    name, rest = call
    if ".journal>" in rest and rest.endswith(tuple("0123456789")):
        return {"pwritev": "W", "pwritev2": "W", "fdatasync": "S"}.get(name, "")
    answers = name in ("sendto", "sendmsg") and r"\4\0\0\0" in rest
    return "A" if answers else ""


def assert_files_before_rows(trace: Trace) -> None:
    """Renamed into place, then the file system synced, then the ledger."""
    steps = ""
    for name, rest in trace.calls():
        if name == "rename" and "/store/" in rest:
            steps += "R"
        elif name == "syncfs":
            steps += "F"
        elif name == "fdatasync" and "ledger.sqlite3-wal" in rest:
            steps += "L"
    assert steps.count("R") == 20, steps
    assert re.fullmatch(r"L*(R+F+L+)+", steps), steps


@pytest.mark.parametrize("what", CALLS)
def test_a_call_fails(what, tool, campaign, tmp_path):
    """Nothing that was acknowledged is lost, whatever the process makes of the error."""
    calls, way, size = CALLS[what]
    for error in ("EIO", "ENOSPC"):
        for when in WHEN:
            front = Front(tmp_path / f"{error}{when}", campaign, "disk", WAYS[way])
            left = send_until_it_fails(front, tool("strace"), injecting(calls, error, when), size)
            front.recovered(f"{what} fails with {error}", left)


def send_until_it_fails(front: Front, strace: str, options: list[str], size: int) -> list[Image]:
    """Send rounds of images until a call was answered with an error; returns what is left."""
    listener = front.listen()
    assert listener.ready()
    with traced(strace, listener.pid, front.folder / "trace", *options) as trace:
        for _ in range(MOST_ROUNDS):
            left = front.send(front.images(16, size))
            if listener.ended(0.2) or trace.injected:
                break
        else:
            raise AssertionError(f"never called: {options}")
    listener.kill()
    return left

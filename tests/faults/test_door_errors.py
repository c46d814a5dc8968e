"""I1, I3: an answer leaves after the syncs that it promises, and any call to the disk may fail."""

import itertools
import re

import pytest
from campaign import often
from front import MOST_ROUNDS, Front, Image
from processes import PATIENCE_S, wait_until
from tracing import Trace, injecting, traced
from wire import Wire

pytestmark = pytest.mark.slow
SYNCS = ("fdatasync", "fsync")
SMALL, MIDDLE, LARGE = 20_000, 600_000, 1_400_000
ORDER = "trace=pwritev,pwritev2,fdatasync,fsync,sendto,sendmsg,write"
WAYS = {"durable": "", "os": 'durability = "os"', "library": "fast_path = false"}
CALLS = {
    # what fails: (the calls, in which way of keeping, size of the images)
    "write to a pack": (["pwritev", "pwritev2"], "durable", SMALL),
    "write to a pack while it comes": (["pwritev", "pwritev2"], "os", MIDDLE),
    "write to a pack of its own": (["pwritev", "pwritev2"], "durable", LARGE),
    "write to a pack that is not synced": (["pwritev", "pwritev2"], "os", SMALL),
    "sync of a pack": (["fdatasync"], "durable", SMALL),
    "sync of a folder": (["fsync"], "durable", LARGE),
    "header of a pack, ledger write": (["pwrite64"], "durable", SMALL),
    "room ahead of a pack": (["fallocate"], "durable", SMALL),
    "cut of a pack": (["ftruncate"], "durable", SMALL),
    "write to a pack, by the library": (["pwritev", "pwritev2"], "library", MIDDLE),
    "open": (["openat"], "durable", SMALL),
    "close": (["close"], "durable", LARGE),
    "ledger commit": (["fdatasync", "fsync"], "os", SMALL),
}
WHEN = ("1", "2+") if often(0, 1) == 0 else ("1", "2", "3", "4", "1+", "3+")
"""Counted by strace for each thread: one of the library's writes four instances."""


@pytest.mark.parametrize("size", [SMALL, MIDDLE])
def test_an_answer_leaves_after_the_sync_of_its_pack(size, tool, campaign, tmp_path):
    """One association, one instance after the other: written, synced, answered, each time."""
    front = Front(tmp_path, campaign, "door")
    listener = front.listen()
    assert listener.ready()
    images = front.images(20, size)
    with traced(tool("strace"), listener.pid, tmp_path / "trace", "-e", ORDER) as trace:
        assert front.send(images, senders=1) == []
        front.settled()
    listener.kill()
    steps = "".join(filter(None, map(_answer_step, trace.calls())))
    assert re.fullmatch(r"(W+S+A){20}", steps), steps
    assert_bytes_before_rows(trace)


def test_rows_follow_the_sync_of_what_they_name(tool, campaign, tmp_path):
    """Answers do not wait for it here, but no row may name what a power loss takes."""
    front = Front(tmp_path, campaign, "door", WAYS["os"])
    listener = front.listen()
    assert listener.ready()
    with traced(tool("strace"), listener.pid, tmp_path / "trace", "-e", ORDER) as trace:
        assert front.send(front.images(20, SMALL), senders=1) == []
        front.settled()
    listener.kill()
    steps = "".join(filter(None, map(_row_step, trace.calls())))
    assert re.search(r"W[^W]*S[^W]*L[^W]*$", steps), steps
    assert re.match(r"(WA)+", steps), "answers wait for no sync"


def _row_step(call: tuple[str, str]) -> str:
    """As ``_answer_step``; L: the ledger is synced."""
    name, rest = call
    is_ledger = name == "fdatasync" and "ledger.sqlite3-wal" in rest
    return "L" if is_ledger else _answer_step(call)


def _answer_step(call: tuple[str, str]) -> str:
    """W: an instance is written to a pack; S: the pack is synced; A: answered."""
    name, rest = call
    if ".pack>" in rest and rest.endswith(tuple("0123456789")):
        return {"pwritev": "W", "pwritev2": "W", "fdatasync": "S"}.get(name, "")
    answers = name in ("sendto", "sendmsg") and r"\4\0\0\0" in rest
    return "A" if answers else ""


def assert_bytes_before_rows(trace: Trace) -> None:
    """The last row is committed after the last instance was synced."""
    steps = ""
    for name, rest in trace.calls():
        if name == "fdatasync":
            steps += "S" if ".pack>" in rest else "L" if "ledger.sqlite3-wal" in rest else ""
    assert steps.count("S") == 20, steps
    assert steps.endswith("L"), steps


@pytest.mark.parametrize("what", CALLS)
def test_a_call_fails(what, tool, campaign, tmp_path):
    """Nothing that was acknowledged is lost, whatever the process makes of the error."""
    calls, way, size = CALLS[what]
    for error in ("EIO", "ENOSPC"):
        for when in WHEN:
            front = Front(tmp_path / f"{error}{when}", campaign, "disk", WAYS[way])
            left = send_until_it_fails(front, tool("strace"), injecting(calls, error, when), size)
            front.recovered(f"{what} fails with {error}", left)


@pytest.mark.parametrize(
    ("way", "call", "size"),
    [*itertools.product(["durable"], SYNCS, [SMALL, LARGE]), ("library", "fdatasync", SMALL)],
)
def test_nothing_is_acknowledged_whose_sync_failed(way, call, size, tool, campaign, tmp_path):
    """What the system holds survives our death: only the answers show a sync that was forgotten."""
    front = Front(tmp_path, campaign, "disk", WAYS[way])
    listener = front.listen()
    assert listener.ready()
    with traced(tool("strace"), listener.pid, tmp_path / "trace", *injecting([call], "EIO", "1+")):
        left = front.send(front.images(16, size))
    assert front.acknowledged == {}
    listener.kill()
    front.recovered(f"every {call} fails with EIO", left)


@pytest.mark.parametrize("error", ["EBADF", "ENOMEM"])
def test_a_listener_that_can_hear_no_more_ends(error, tool, campaign, tmp_path):
    """Its event loop dies: the process must not stay behind, deaf, where nobody restarts it."""
    front = Front(tmp_path, campaign, "door")
    listener = front.listen()
    assert listener.ready()
    images = front.images(16, SMALL)
    options = injecting(["?epoll_wait", "?epoll_pwait"], error, "9+")
    with traced(tool("strace"), listener.pid, tmp_path / "trace", *options):
        front.send(images)
        assert listener.ended(PATIENCE_S), "it lives on, and hears nothing"
    left = [i for i in images if i.uid not in front.acknowledged]
    front.recovered("the event loop dies", left)


def test_deadlines_outlive_a_disk_that_cannot_be_asked(tool, campaign, tmp_path):
    """statfs fails at each look at the free space: who says nothing is still sent away."""
    front = Front(tmp_path, campaign, "door")
    listener = front.listen()
    assert listener.ready()
    options = injecting(["statfs"], "EIO", "1+")
    with traced(tool("strace"), listener.pid, tmp_path / "trace", *options) as trace:
        wait_until(lambda: trace.injected, "the first look")
        with Wire.connect(front.port) as wire:
            assert wire.receive() is None
    listener.kill()
    front.recovered("the free space cannot be asked for", front.images(4))


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

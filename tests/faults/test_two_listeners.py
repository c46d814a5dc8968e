"""Two listener processes on one port: each has packs of its own, and one may die or be left out."""

import os
import signal
import threading

import pytest
from front import Front
from processes import PATIENCE_S, Running, wait_until

pytestmark = pytest.mark.slow
TWO = "processes = 2"
AREA = "two listeners"


def test_one_is_killed_while_both_receive(campaign, tmp_path):
    front = Front(tmp_path, campaign, AREA, settings=TWO)
    supervisor = both_ready(front)
    images = front.images(400, 20_000)
    sending = threading.Thread(target=front.send, args=[images, 8])
    sending.start()
    wait_until(lambda: len(front.acknowledged) > 40, "some images")
    victim = min(supervisor.children())
    os.kill(victim, signal.SIGKILL)
    sending.join()
    left = [each for each in images if each.uid not in front.acknowledged]
    wait_until(lambda: said(supervisor, "listen.ready") >= 3, "the third listener", PATIENCE_S)
    assert front.send_again(left) == []
    assert packs(front) == {"listen-0", "listen-1"}
    supervisor.kill(15)
    front.recovered("one of two killed", front.images(8))


def test_one_takes_over_what_the_other_left(campaign, tmp_path):
    front = Front(tmp_path, campaign, AREA, settings=TWO)
    supervisor = both_ready(front)
    for _ in range(20):
        assert front.send(front.images(16), 8) == []
        if packs(front) == {"listen-0", "listen-1"}:
            break
    supervisor.kill_family()
    alone = front.config.read_text().replace(TWO, "processes = 1")
    front.config.write_text(alone)
    front.recovered("one instead of two", front.images(8))


def both_ready(front: Front) -> Running:
    supervisor = front.listen()
    wait_until(lambda: said(supervisor, "listen.ready") == 2, "both listeners")
    return supervisor


def said(running: Running, event: str) -> int:
    return running.log.read_text().count(event)


def packs(front: Front) -> set[str]:
    """The processes that have written packs."""
    folder = front.folder / "data" / "store" / "packs"
    return {each.parent.name for each in folder.glob("*/*.pack")}

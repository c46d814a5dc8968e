"""I1, I2: the listener is killed at every point between a byte and its answer, and at any time.

Whatever it had acknowledged has its row and its file when it runs again.
"""

import random
import re
import threading
from pathlib import Path

import pytest
from campaign import often
from front import Front
from points import ALL, DURABLE, LARGE_ONLY, LIBRARY, OS
from processes import PATIENCE_S, Running, is_stopped, start, wait_until

import dicom_node
import workers
from dicom_node.redis_server import free_port

pytestmark = pytest.mark.slow
SMALL, LARGE = 20_000, 1_400_000
RECOVERY = "pack.recovered"
SETTINGS = {
    "durable": "",
    "os": 'durability = "os"',
    "library": "fast_path = false",
}


def test_the_campaign_knows_every_point():
    sources = [
        source
        for package in (dicom_node, workers)
        for source in Path(package.__file__).parent.rglob("*.py")
    ]
    named = {n for s in sources for n in re.findall(r'faults\.point\("(.+?)"\)', s.read_text())}
    assert named == ALL


@pytest.mark.parametrize("point", DURABLE)
def test_killed_at_a_point(point, campaign, tmp_path):
    for passage in (1, 2, 5):
        kill_at(Front(tmp_path / str(passage), campaign, "door"), point, passage)


@pytest.mark.parametrize("point", OS)
def test_killed_at_a_point_without_syncs(point, campaign, tmp_path):
    for passage in (1, 3):
        kill_at(
            Front(tmp_path / str(passage), campaign, "door, os", SETTINGS["os"]), point, passage
        )


@pytest.mark.parametrize("point", LIBRARY)
def test_killed_at_a_point_of_the_librarys_door(point, campaign, tmp_path):
    for passage in range(1, 1 + often(1, 3)):
        front = Front(tmp_path / str(passage), campaign, "door, library", SETTINGS["library"])
        kill_at(front, point, passage)


def kill_at(front: Front, point: str, passage: int) -> None:
    size = LARGE if point in LARGE_ONLY else SMALL
    if point == RECOVERY:
        front.send_until_killed(f"recorder.recording:{passage}", size)
        passage = 1
    left = front.send_until_killed(f"{point}:{passage}", size)
    front.recovered(f"killed at {point}", left)


@pytest.mark.parametrize("way", SETTINGS)
def test_killed_at_any_time_under_load(way, campaign, tmp_path):
    """Each process recovers what the one before it left, and is killed in its turn."""
    chance = random.Random(f"killed {way}")
    front = Front(tmp_path, campaign, f"door, {way}", SETTINGS[way])
    for _ in range(often(10, 100)):
        listener = front.listen()
        after_s = chance.uniform(0, 0.5)
        images = front.images(60, chance.choice([512, SMALL, SMALL, LARGE]))
        if listener.ready():
            timer = threading.Timer(after_s, listener.kill)
            timer.start()
            left = front.send(images)
            timer.join()
            listener.kill()
        front.recovered("killed at a random time", left[:10])


def test_killed_while_it_starts(campaign, tmp_path):
    chance = random.Random("start")
    front = Front(tmp_path, campaign, "door")
    front.send_until_killed("recorder.recording:2", SMALL)
    for _ in range(often(4, 20)):
        listener = front.listen()
        listener.ended(chance.uniform(0, 0.4))
        listener.kill()
        front.recovered("killed while it starts", front.images(4))


def test_a_second_listener_over_the_same_data_touches_nothing(campaign, tmp_path):
    """It says why it ends, and what the first has acknowledged stays, rows or no rows."""
    front = Front(tmp_path, campaign, "door")
    listener = stopped_before_its_rows(front)
    assert front.acknowledged
    for number in (2, 3):
        second = start("listen", elsewhere(front, number))
        assert second.ended(PATIENCE_S)
        assert "STORE_HELD" in second.log.read_text()
    listener.kill()
    front.recovered("a second listener", front.images(4))


def stopped_before_its_rows(front: Front) -> Running:
    """A listener that has acknowledged instances, and stands still before it records them."""
    listener = front.listen("recorder.recording:1:STOP")
    assert listener.ready()
    front.send(front.images(8, SMALL))
    wait_until(lambda: is_stopped(listener.pid), "acknowledged instances without rows")
    return listener


def elsewhere(front: Front, number: int) -> Path:
    """The settings of a listener over the same data: on the same port, and on another."""
    config = front.folder / f"{number}.toml"
    port = front.port if number % 2 else free_port()
    config.write_text(front.config.read_text().replace(str(front.port), str(port)))
    return config


def test_the_next_listener_waits_for_the_one_that_ends(campaign, tmp_path):
    front = Front(tmp_path, campaign, "door")
    listener = stopped_before_its_rows(front)
    threading.Timer(1, listener.kill).start()
    front.recovered("the next starts before it has ended", front.images(4))


def test_the_senders_of_others(tool, campaign, tmp_path):
    """DCMTK's storescu, four at once, killed in between: what it says arrived is there."""
    storescu = tool("storescu")
    front = Front(tmp_path, campaign, "door, storescu")
    for passage in range(often(2, 10)):
        listener = front.listen(f"pack.synced:{5 + 7 * passage}")
        assert listener.ready()
        left = front.send_by(storescu, front.images(40 * (1 + passage)))  # four to a sync at most
        assert listener.ended(PATIENCE_S)
        front.recovered("killed under storescu", left)

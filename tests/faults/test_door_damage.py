"""A disk that changes bytes: what was acknowledged and is whole stays, what is not is said."""

from pathlib import Path

import pytest
from campaign import often
from front import Front
from processes import PATIENCE_S, is_stopped, wait_until

from dicom_node.receive.pack import PACK, RECORD, RECORD_MAGIC
from dicom_node.receive.salvage import ASIDE

pytestmark = pytest.mark.slow
SMALL = 20_000
PACK_HEADER = [0, 9, 13, 17, 25]
RECORD_HEADER = [0, 5, 13, 17, 25, 40]
"""A byte of each field; the last is of the JSON object."""


@pytest.mark.parametrize("at", PACK_HEADER if often(0, 1) else PACK_HEADER[::2])
@pytest.mark.parametrize("state", ["open", "sealed"])
def test_a_byte_of_the_header_of_a_pack_changes(state, at, campaign, tmp_path):
    front = Front(tmp_path, campaign, "door")
    (pack,) = stopped(front, "recorder.recording" if state == "open" else "")
    flip(pack, at)
    front.recovered(f"a byte of the header of a pack changes, {state}", front.images(4))
    assert not list(pack.parent.glob(f"*{ASIDE}"))


@pytest.mark.parametrize("at", RECORD_HEADER if often(0, 1) else RECORD_HEADER[::3])
@pytest.mark.parametrize("rows", [False, True], ids=["without rows", "with rows"])
def test_a_byte_of_a_record_changes(rows, at, campaign, tmp_path):
    """Without a row its image is lost, and that is said; the others are not."""
    front = Front(tmp_path, campaign, "door")
    (pack,) = stopped(front, "recorder.settled" if rows else "recorder.recording")
    place = records(pack)[2]
    flip(pack, place + at)
    if not rows:
        damaged = uid_in(pack, place)
        lost = [image for image in front.sent if image.uid == damaged]
        del front.acknowledged[damaged]
        front.recovered("a byte of a record without a row changes", lost)
        assert damaged in front.acknowledged
        assert [path.name for path in pack.parent.glob(f"*{ASIDE}")] == [pack.name + ASIDE]
    else:
        front.recovered("a byte of a record with a row changes", front.images(4))


@pytest.mark.parametrize("way", ["", 'durability = "os"'], ids=["durable", "os"])
def test_what_is_sent_again_takes_the_place_of_what_is_damaged(way, campaign, tmp_path):
    """As ``verify`` advises; it says afterwards that all is well."""
    front = Front(tmp_path, campaign, "door", way)
    (pack,) = stopped(front, "")
    for place in records(pack)[2:5]:
        flip(pack, place + 10_000)
    assert front.look() == (3, 0)
    listener = front.listen()
    assert listener.ready()
    assert front.send(front.sent[:8]) == []
    wait_until(lambda: listener.log.read_text().count("MENDED") == 3, "three images mended")
    front.settled()
    listener.kill(15)
    front.recovered("sent again after damage", front.images(4))
    assert front.problems() == []


def stopped(front: Front, point: str) -> list[Path]:
    """The packs of a listener that was killed at a point, or told to stop."""
    listener = front.listen(f"{point}:1:STOP" if point else "")
    assert listener.ready()
    front.send(front.images(8, SMALL), senders=1)
    if point:
        wait_until(lambda: is_stopped(listener.pid), f"it stands still at {point}")
        listener.kill()
    else:
        listener.kill(15)
    assert listener.ended(PATIENCE_S)
    return list((front.folder / "data" / "store" / "packs").glob("*/*.pack"))


def records(pack: Path) -> list[int]:
    """Where the records of a pack begin."""
    content, places = pack.read_bytes(), [PACK.size]
    mark = content[PACK.size : PACK.size + 12]
    assert mark.startswith(RECORD_MAGIC)
    while (at := content.find(mark, places[-1] + RECORD.size)) > 0:
        places.append(at)
    return places


def uid_in(pack: Path, place: int) -> str:
    about = pack.read_bytes()[place + RECORD.size : place + 1024].decode(errors="replace")
    return about.partition("sop_instance_uid")[2].split('"')[2]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x04]))

"""The sweep is killed at each point while it removes a study: what is to be kept is kept, what is
to go is gone after the next start, and does not come back."""

import shutil
import signal

import pytest
from campaign import FULL, Injection
from front import Front, Image
from points import REMOVAL
from processes import PATIENCE_S, start
from sqlalchemy import update

from dicom_node.domain.study import Study
from dicom_node.ledger import Ledger
from dicom_node.ledger.schema import event, study
from dicom_node.receive.incoming import file_head
from dicom_node.receive.part10 import keep_in
from dicom_node.store import InstanceStore

pytestmark = pytest.mark.slow
SETTINGS = "[sweep]\nkeep_days = 1\n"
OLD, YOUNG, ALONE = "1.2.3.1", "1.2.3.2", "1.2.3.3"
LATE = "erase.erased"
UNSEALED = REMOVAL if FULL else ("retention.removed", LATE)


@pytest.mark.parametrize(
    ("end", "points"),
    [(signal.SIGTERM, REMOVAL), (signal.SIGKILL, UNSEALED)],
    ids=["sealed packs", "open packs"],
)
def test_killed_at_a_point(end, points, campaign, tmp_path):
    """A study in packs of its own and in one that it shares, and one in a file."""
    first = Front(tmp_path / "first", campaign, "removal", SETTINGS)
    old, young = received(first, end)
    for number, point in enumerate(points):
        front = Front(tmp_path / str(number), campaign, "removal", SETTINGS)
        front.acknowledged |= first.acknowledged
        shutil.copytree(first.folder / "data", front.folder / "data")
        killed = start("tidy", front.config, point)
        assert killed.ended(PATIENCE_S)
        is_reached = killed.process.exitcode == -signal.SIGKILL
        assert is_reached or end == signal.SIGKILL, point
        late = listened(front, old[:1] + young[:1]) if point == LATE else []
        assert start("tidy", front.config).ended(PATIENCE_S)
        listened(front, [])
        judge(front, f"sweep killed at {point}", old, late)


def received(front: Front, end: int) -> tuple[list[Image], list[Image]]:
    """The listener receives, and is ended; all but one study is due then."""
    listener = front.listen()
    assert listener.ready()
    old, young = front.images(4, 600_000), front.images(2, 60_000)
    assert front.send([*old, *young], senders=1) == []
    front.settled()
    listener.kill(end)
    (alone,) = front.images(1)
    ledger, store = opened(front)
    head = file_head("1.2.840.10008.5.1.4.1.1.2", alone.uid, "1.2.840.10008.1.2.1")
    ledger.studies.record(keep_in(store, head + alone.data), "IMPORT")
    for seen in ledger.studies.receiving():
        ledger.studies.close(seen, Study(seen.study_instance_uid, ()), [], "c")
    with ledger.database.write() as connection:
        is_due = study.c.study_instance_uid != YOUNG
        connection.execute(update(study).where(is_due).values(last_received_at=0))
        connection.execute(update(event).values(at=0))
    ledger.close()
    for each in old:
        del front.acknowledged[each.uid]
    return [*old, alone], young


def opened(front: Front) -> tuple[Ledger, InstanceStore]:
    data = front.folder / "data"
    return Ledger.open(f"sqlite:///{data / 'ledger.sqlite3'}"), InstanceStore(data / "store")


def listened(front: Front, images: list[Image]) -> list[Image]:
    """The listener starts, and recovers what it finds; images that are sent are to be kept."""
    listener = front.listen()
    assert listener.ready()
    assert not images or front.send(images, senders=1) == []
    listener.kill(signal.SIGTERM)
    return images


def judge(front: Front, fault: str, old: list[Image], late: list[Image]) -> None:
    ledger, store = opened(front)
    found = [i for uid in (OLD, YOUNG, ALONE) for i in ledger.studies.instances(uid)]
    kept = {instance.sop_instance_uid for instance in found}
    states = [ledger.pages.study(uid).study["state"] for uid in (OLD, ALONE)]
    ledger.close()
    files = [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]
    gone = [each for each in old if each not in late]
    left = [each for each in gone if each.uid in kept or any(each.data in f for f in files)]
    expected = ["RECEIVING" if late else "REMOVED", "REMOVED"]
    lost, _ = front.look()
    problems = front.problems()
    survived = not left and not problems and states == expected
    note = f"{len(left)} left, {problems}, {states}"
    front.campaign.add(Injection("removal", fault, survived=survived, lost=lost, note=note))

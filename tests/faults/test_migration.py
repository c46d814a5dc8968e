"""I16: a migration that is cut off leaves the ledger as it was; a newer schema is refused; a backup
that was made while the node ran can be put in its place."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from campaign import often
from front import Front
from processes import PATIENCE_S

from dicom_node.ledger import Ledger
from dicom_node.store import InstanceStore
from dicom_node.verify import Wrong, verify

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("point", ["ledger.migrated", "ledger.committing", "ledger.committed"])
def test_killed_while_it_migrates(point, campaign, tmp_path):
    for time in range(often(2, 10)):
        front = Front(tmp_path / str(time), campaign, "migration")
        for _ in range(2):
            listener = front.listen(point)
            assert listener.ended(PATIENCE_S)
        front.recovered(f"killed at {point}", front.images(4))


def test_a_newer_schema_is_refused_and_nothing_is_touched(campaign, tmp_path):
    front = Front(tmp_path, campaign, "migration")
    listener = front.listen()
    assert listener.ready()
    assert front.send(front.images(8)) == []
    listener.kill(15)
    set_revision(front, "9999")
    listener = front.listen()
    assert listener.ended(PATIENCE_S)
    assert "schema 9999" in listener.log.read_text()
    set_revision(front, "0001")
    front.recovered("a newer schema", front.images(4))


def test_a_backup_taken_while_images_arrive(campaign, tmp_path):
    """As the README says: the ledger by SQLite's own backup, then the store. The rows
    that the older ledger lacks are written again, from the packs."""
    front = Front(tmp_path / "node", campaign, "backup")
    copy = Front(tmp_path / "copy", campaign, "backup")
    listener = front.listen()
    assert listener.ready()
    assert front.send(front.images(40, 20_000)) == []
    front.settled()
    more = threading.Thread(target=front.send, args=[front.images(200, 20_000)])
    more.start()
    (copy.folder / "data").mkdir()
    back_up(front.folder / "data" / "ledger.sqlite3", copy.folder / "data" / "ledger.sqlite3")
    more.join()
    front.settled()
    shutil.copytree(front.folder / "data" / "store", copy.folder / "data" / "store")
    listener.kill(15)
    assert len(front.acknowledged) == 240
    copy.acknowledged, copy.studies = front.acknowledged, 9
    copy.recovered("a backup put in place", copy.images(4))
    ledger = Ledger.open(f"sqlite:///{copy.folder / 'data' / 'ledger.sqlite3'}")
    found = verify(ledger, InstanceStore(copy.folder / "data" / "store"))
    assert [problem for problem in found if problem.wrong is not Wrong.ORPHAN] == []
    ledger.close()


def back_up(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def set_revision(front: Front, revision: str) -> None:
    with sqlite3.connect(front.folder / "data" / "ledger.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()

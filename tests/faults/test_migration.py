"""I16: a migration that is cut off leaves the ledger as it was; a newer schema is refused."""

import sqlite3

import pytest
from campaign import often
from front import Front
from processes import PATIENCE_S

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


def set_revision(front: Front, revision: str) -> None:
    with sqlite3.connect(front.folder / "data" / "ledger.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()

"""I16: a migration that is cut off leaves the ledger as it was; a newer schema is refused; a backup
that was made while the node ran can be put in its place."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from campaign import Injection, often
from front import Front
from history import add_past
from points import MIGRATION
from processes import PATIENCE_S

from dicom_node.domain.delivery import DeliveryState
from dicom_node.domain.job import JobState
from dicom_node.ledger import Ledger
from dicom_node.ledger.schema import REVISION, delivery, job
from dicom_node.store import InstanceStore
from dicom_node.verify import Wrong, verify

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("point", MIGRATION)
def test_killed_while_it_makes_the_first_schema(point, campaign, tmp_path):
    for time in range(often(2, 10)):
        front = Front(tmp_path / str(time), campaign, "migration")
        for _ in range(2):
            listener = front.listen(point)
            assert listener.ended(PATIENCE_S)
        front.recovered(f"killed at {point}", front.images(4))


@pytest.mark.parametrize("point", MIGRATION)
def test_killed_while_a_ledger_with_rows_in_each_state_is_brought_up_to_date(
    point, campaign, tmp_path
):
    for time in range(often(1, 10)):
        front = Front(tmp_path / str(time), campaign, "migration")
        listener = front.listen()
        assert listener.ready()
        assert front.send([each for _ in range(30) for each in front.images(1)]) == []
        listener.kill(15)
        make_old(front)
        rows = content(front)
        states = {row[JOB_STATE] for row in rows["job"]}
        assert states == set(JobState), "each state must be there"
        listener = front.listen(point)
        assert listener.ended(PATIENCE_S)
        assert content(front) == rows
        listener = front.listen()
        ready = listener.ready()
        left = front.send(front.images(4))
        listener.kill(15)
        after = content(front)
        survived = ready and not left and revision(front) == REVISION
        kept = all(after[table] == rows[table] for table in ("job", "result", "delivery"))
        lost, _ = front.look()
        fault = f"an old ledger, killed at {point}"
        campaign.add(Injection("migration", fault, survived=survived and kept, lost=lost))


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
    set_revision(front, REVISION)
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


JOB_STATE = list(job.c.keys()).index("state")


NEW_INDEXES = (
    "ix_job_unanswered", "ix_job_rejected", "ix_delivery_job_id_state", "ix_delivery_proof",
    "ix_delivery_transaction_uid", "ix_instance_sha256", "ix_result_sha256", "ix_job_report_sha256",
)  # fmt: skip
NEW_TABLES = ("removal", "erasure")
NEW_COLUMNS = ("proof", "asked", "lost", "transaction_uid")
"""Of ``delivery``, since the first revision."""
OLD_DELIVERY = ", ".join(c.name for c in delivery.c if c.name not in NEW_COLUMNS)


def make_old(front: Front) -> None:
    """As a node of the first revision left it, with jobs and deliveries in every state."""
    ledger = Ledger.open(f"sqlite:///{front.folder / 'data' / 'ledger.sqlite3'}")
    add_past(ledger, tuple(JobState), tuple(DeliveryState))
    ledger.close()
    with closing(database(front)) as connection:
        for index in NEW_INDEXES:
            connection.execute(f"DROP INDEX {index}")
        for table in NEW_TABLES:
            connection.execute(f"DROP TABLE {table}")
        for column in NEW_COLUMNS:
            connection.execute(f"ALTER TABLE delivery DROP COLUMN {column}")
        connection.execute("CREATE INDEX ix_delivery_job_id ON delivery (job_id)")
        connection.commit()
    set_revision(front, "0001")


def content(front: Front) -> dict[str, list[tuple[Any, ...]]]:
    """What the first revision has."""
    columns = dict.fromkeys(("study", "instance", "job", "result"), "*")
    with closing(database(front)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {names} FROM {table}"))
            for table, names in {**columns, "delivery": OLD_DELIVERY}.items()
        }


def revision(front: Front) -> str:
    with closing(database(front)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def database(front: Front) -> sqlite3.Connection:
    return sqlite3.connect(front.folder / "data" / "ledger.sqlite3")


def set_revision(front: Front, revision: str) -> None:
    with closing(database(front)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])

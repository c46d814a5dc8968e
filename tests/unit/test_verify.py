"""``dicom-node verify`` finds what is missing, altered or nobody's, and says what to do."""

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from door import open_door
from typer.testing import CliRunner
from ward import POSITIVE, Ward

from dicom_node import orphans, roles
from dicom_node import verify as module
from dicom_node.cli import app
from dicom_node.ledger import Ledger, inventory
from dicom_node.orphans import remove_orphans
from dicom_node.receive.part10 import keep_in
from dicom_node.send.cstore import Answer, Peer, send
from dicom_node.settings.sources import load_settings
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study, save_study
from dicom_node.verify import Wrong, verify


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with three received instances; files count as settled at once."""
    monkeypatch.setattr(module, "SETTLED_S", -60.0)
    monkeypatch.setattr(orphans, "SETTLED_S", 0.0)
    monkeypatch.setenv("DICOM_NODE__DATA_DIR", str(tmp_path))
    for seed in range(3):
        (instance,) = make_study(phantom(seed, slices=1, size=16))
        kept = keep_in(store(tmp_path), file_bytes(instance))
        ledger(tmp_path).studies.record(kept, "FOLDER")
    return tmp_path


def store(folder):
    return InstanceStore(folder / "store")


def ledger(folder):
    return Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")


def files(folder):
    return sorted(p for place in store(folder).places() for p in place.iterdir())


def run():
    return CliRunner().invoke(app, ["verify"], env={"COLUMNS": "200"})


def test_a_sound_store_is_said_to_be_sound(data):
    done = run()
    assert done.exit_code == 0
    assert "3 files hashed, 0 not as the ledger says" in done.stdout


def test_every_difference_is_named_with_what_to_do(data):
    missing, altered, _ = files(data)
    missing.unlink()
    altered.write_bytes(b"x")
    orphan = store(data).keep([b"nobody's"])

    found = {p.wrong: p.filed for p in verify(ledger(data), store(data))}
    assert {w: f.sha256 for w, f in found.items()} == {
        Wrong.MISSING: missing.name,
        Wrong.ALTERED: altered.name,
        Wrong.ORPHAN: orphan.sha256,
    }
    assert found[Wrong.MISSING].sop_instance_uid

    done = run()
    assert done.exit_code == 1
    assert "sent again" in done.stdout
    assert "3 files hashed, 3 not as the ledger says" in done.stdout


def test_what_is_finished_meanwhile_stops_nothing(data):
    incoming = store(data).incoming
    for name in ("one", "other"):
        (incoming / name).write_bytes(b"half a file")
    found = []
    for path in module.settled_files(store(data)):
        found.append(path)
        if path.parent == incoming:
            for half in incoming.iterdir():
                half.unlink()
    assert len(found) == 4


def test_the_ledger_s_log_is_emptied_while_files_are_hashed(data, monkeypatch):
    monkeypatch.setattr(inventory, "AT_ONCE", 2)
    opened = ledger(data)
    files = opened.inventory.files()
    first = next(files)
    opened.roles.beat("listen", "host", 0.0)
    with sqlite3.connect(data / "ledger.sqlite3") as other:
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    assert len({first.sha256, *(filed.sha256 for filed in files)}) == 3


def test_an_orphan_goes_and_nothing_else(data):
    before = files(data)
    store(data).keep([b"nobody's"])
    assert remove_orphans(ledger(data), store(data)) == 1
    assert files(data) == before


def test_a_file_that_was_never_finished_goes_too(data):
    """Killed while a file was written."""
    (store(data).incoming / "half").write_bytes(b"half")
    assert remove_orphans(ledger(data), store(data)) == 1
    assert list(store(data).incoming.iterdir()) == []


def test_a_file_whose_row_may_be_on_its_way_is_not_named(data, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_S", 60.0)
    store(data).keep([b"on its way"])
    assert list(verify(ledger(data), store(data))) == []


def test_a_file_whose_row_is_on_its_way_stays_whatever_the_clock_says(data, monkeypatch):
    """The clock may be a day ahead since it was kept."""
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + 86400)
    (instance,) = make_study(phantom(7, slices=1, size=16))
    kept = keep_in(store(data), file_bytes(instance))

    def meanwhile(seconds):
        assert seconds == orphans.SETTLED_S
        ledger(data).studies.record(kept, "FOLDER")
        return False

    assert remove_orphans(ledger(data), store(data), meanwhile) == 0
    assert store(data).file(kept).is_as_expected


def test_a_file_that_is_kept_anew_meanwhile_stays(data):
    """Left without a row by one who was killed; now it comes again, and its row is still coming."""
    kept = store(data).keep([b"again"])
    assert (
        remove_orphans(ledger(data), store(data), lambda _: store(data).keep([b"again"]) is None)
        == 0
    )
    assert store(data).path(kept.sha256).exists()


def test_a_file_that_is_kept_anew_at_the_last_moment_stays(data, monkeypatch):
    kept = store(data).keep([b"again"])
    rename = Path.rename

    def late(path, target):
        store(data).keep([b"again"])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    assert remove_orphans(ledger(data), store(data)) == 0
    assert store(data).path(kept.sha256).exists()


def test_who_is_told_to_stop_deletes_nothing(data):
    store(data).keep([b"nobody's"])
    assert remove_orphans(ledger(data), store(data), lambda _: True) == 0


def test_the_sweep_removes_orphans_wherever_it_runs(data, monkeypatch):
    """Under systemd or compose there is no ``dicom-node serve``."""
    path = store(data).path(store(data).keep([b"nobody's"]).sha256)
    before = files(data)
    monkeypatch.setenv("DICOM_NODE__BROKER__URL", "redis://localhost:1/0")
    monkeypatch.setenv("DICOM_NODE__SWEEP__INTERVAL_S", "0.1")
    stop = threading.Event()
    monkeypatch.setattr(roles, "stop_event", lambda: stop)
    threading.Thread(target=stop_when, args=[lambda: not path.exists(), stop]).start()
    roles.run_sweep(load_settings(None))
    assert files(data) == [each for each in before if each != path]


def stop_when(true, stop):
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()


def test_results_and_reports_are_looked_at_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_S", -60.0)
    ward = Ward.open(tmp_path)
    (job_id,) = ward.close(ward.receive("A^B"), "phantom-lesion")
    ward.complete(job_id, POSITIVE)
    wrong = [p for p in verify(ward.ledger, ward.store) if p.filed.job_id == job_id]
    assert {p.wrong for p in wrong} == {Wrong.MISSING}
    assert all(p.filed.sop_instance_uid for p in wrong), "the report's file is there"


class TestPacks:
    """What came by C-STORE lies in packs, many instances in one."""

    @pytest.fixture
    def packs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "SETTLED_S", -60.0)
        monkeypatch.setattr(orphans, "SETTLED_S", 0.0)
        images = make_study(phantom(1, slices=3, size=32))
        with open_door(tmp_path) as door:
            send_all(door, images)
            door.arrived(3)
        (pack,) = (tmp_path / "store" / "packs" / "listen-0").iterdir()
        return pack

    def test_sound_packs_are_sound(self, packs, tmp_path):
        assert list(verify(ledger(tmp_path), store(tmp_path))) == []
        assert remove_orphans(ledger(tmp_path), store(tmp_path)) == 0
        assert packs.exists()

    def test_a_wrong_byte_names_its_instance_and_no_other(self, packs, tmp_path):
        first, *_ = ledger(tmp_path).inventory.files()
        with packs.open("r+b") as file:
            file.seek(first.pack_offset + 200)
            file.write(b"\xff\xff")
        (problem,) = verify(ledger(tmp_path), store(tmp_path))
        assert (problem.wrong, problem.filed) == (Wrong.ALTERED, first)

    def test_a_pack_that_is_cut_or_gone(self, packs, tmp_path):
        os.truncate(packs, packs.stat().st_size - 100)
        assert [p.wrong for p in verify(ledger(tmp_path), store(tmp_path))] == [Wrong.ALTERED]
        packs.unlink()
        assert [p.wrong for p in verify(ledger(tmp_path), store(tmp_path))] == [Wrong.MISSING] * 3

    @pytest.mark.parametrize("at", [0, 9, 13, 17, 25])
    def test_a_wrong_byte_in_the_header_is_noticed_and_mended(self, packs, tmp_path, at):
        """Nobody asks for it to read an instance, but recovery does."""
        with packs.open("r+b") as file:
            file.seek(at)
            (was,) = file.read(1)
            file.seek(at)
            file.write(bytes([was ^ 0xFF]))
        (problem,) = verify(ledger(tmp_path), store(tmp_path))
        assert problem.wrong is Wrong.PACK_DAMAGED
        assert problem.filed.pack == f"listen-0/{packs.name}"
        with open_door(tmp_path):
            pass
        assert list(verify(ledger(tmp_path), store(tmp_path))) == []

    def test_what_was_kept_of_a_damaged_pack_is_named(self, packs, tmp_path):
        aside = packs.with_name(f"{packs.name}.damaged")
        aside.write_bytes(b"?")
        (problem,) = verify(ledger(tmp_path), store(tmp_path))
        assert problem.wrong is Wrong.PACK_ASIDE
        assert problem.filed.pack == f"listen-0/{aside.name}"

    def test_an_older_ledger_is_noticed_and_gets_its_rows_back(self, packs, tmp_path):
        """Yesterday's backup of the ledger: nothing of today is deleted, nothing is lost."""
        before = list(ledger(tmp_path).inventory.files())
        for file in tmp_path.glob("ledger.sqlite3*"):
            file.unlink()
        (problem,) = verify(ledger(tmp_path), store(tmp_path))
        assert problem.wrong is Wrong.UNRECORDED
        assert remove_orphans(ledger(tmp_path), store(tmp_path)) == 0
        with open_door(tmp_path) as door:
            door.arrived(3)
        assert list(ledger(tmp_path).inventory.files()) == before
        assert list(verify(ledger(tmp_path), store(tmp_path))) == []


def send_all(door, images):
    files = save_study(images, door.store.root.parent / "sent")
    peer = Peer("127.0.0.1", door.settings.port, door.settings.ae_title, "SENDER")
    assert {outcome.answer for outcome in send(peer, files)} == {Answer.SENT}

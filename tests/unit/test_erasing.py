"""The bytes of removed studies go, nobody else's do, and nothing comes back at the next start."""

import os
import sqlite3
import time

import pytest
from log_lines import log_lines
from sqlalchemy import update
from wire import encoded

from dicom_node import orphans
from dicom_node import verify as verify_module
from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.job import Proposal, SelectedSeries
from dicom_node.domain.study import Study
from dicom_node.erasing import Eraser
from dicom_node.ledger import Ledger, Recording
from dicom_node.ledger.schema import delivery
from dicom_node.receive import packs as packs_module
from dicom_node.receive import room
from dicom_node.receive.dataset import identify
from dicom_node.receive.incoming import Incoming
from dicom_node.receive.packs import Packs
from dicom_node.receive.part10 import keep_in
from dicom_node.receive.recorder import Recorder
from dicom_node.receive.spool import Spool
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study
from dicom_node.verify import Wrong, verify

SYNTAX = "1.2.840.10008.1.2.1"
MARKS = {1: b"first patient", 2: b"second patient", 3: b"third patient"}
"""In the bytes of each study."""
(IMAGE,) = make_study(phantom(1, slices=1, size=16))


def image(study, number):
    """An instance of a study, with its mark."""
    uid = f"1.2.3.{study}"
    IMAGE.StudyInstanceUID, IMAGE.SeriesInstanceUID = uid, f"{uid}.0"
    IMAGE.SOPInstanceUID = IMAGE.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
    IMAGE.ImageComments = MARKS[study].decode()
    return IMAGE


class Shelf:
    """A ledger, a store, and a listener's spool over both, which can be killed and started anew."""

    def __init__(self, folder):
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
        self.store = InstanceStore(folder / "store")
        self.now = 0.0
        self.eraser = Eraser(self.ledger, self.store, lambda: self.now)
        self.start()

    def start(self):
        self.packs = Packs(self.store.packs / "listen-0", pack_bytes=40_000)
        self.recorder = Recorder(self.packs, self.ledger, self.store)
        self.spool = Spool(self.packs, self.recorder, durable=False)
        self.spool.start()

    def stop(self):
        self.spool.stop()

    def kill(self):
        """What it wrote stays as it is: nothing is sealed."""
        self.recorder.stop()
        self.packs._holding.let_go()

    def restart(self):
        self.stop()
        self.start()

    def receive(self, study, *numbers):
        """By C-STORE; all rows are written on return."""
        for number in numbers:
            data_set = image(study, number)
            meta, data_set.file_meta = data_set.file_meta, None
            del data_set.file_meta
            data = encoded(data_set)
            data_set.file_meta = meta
            identity = identify(data, SYNTAX, implicit=False, little=True)
            incoming = Incoming(self.packs)
            incoming.begin(identity.sop_class_uid, identity.sop_instance_uid, SYNTAX)
            incoming.write(memoryview(data), last=True)
            self.spool.keep(identity, "CT", incoming, lambda _: None).settle()
        while self.recorder._waiting or self.recorder._wake.is_set():
            time.sleep(0.01)

    def take(self, study, *numbers):
        """From a file, as STOW-RS and ``import`` do."""
        for number in numbers:
            kept = keep_in(self.store, file_bytes(image(study, number)))
            self.ledger.studies.record(kept, "IMPORT")
        return kept

    def remove(self, study):
        uid = f"1.2.3.{study}"
        seen = [s for s in self.ledger.studies.receiving() if s.study_instance_uid == uid]
        if seen:
            self.ledger.studies.close(seen[0], Study(uid, ()), [], "c")
        self.ledger.removals.order(uid, ())

    def erase(self):
        """Two looks, an hour apart."""
        self.eraser.once()
        self.now += orphans.SETTLED_S
        self.eraser.once()

    def holds(self, study):
        """How many instances have rows and are as they were."""
        rows = self.ledger.studies.instances(f"1.2.3.{study}")
        assert all(self.store.file(row).is_as_expected for row in rows)
        return len(rows)

    def contains(self, study):
        """Whether bytes of it lie anywhere in the store."""
        files = (path for path in self.store.root.rglob("*") if path.is_file())
        return any(MARKS[study] in path.read_bytes() for path in files)

    def problems(self):
        return [problem.wrong for problem in verify(self.ledger, self.store)]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(verify_module, "SETTLED_S", -60.0)
    made = Shelf(tmp_path)
    yield made
    made.stop()
    made.ledger.close()


@pytest.mark.parametrize("can_punch", [True, False])
def test_of_two_studies_in_a_pack_one_goes_and_the_other_stays(shelf, monkeypatch, can_punch):
    if not can_punch:
        monkeypatch.setattr(room, "_FALLOCATE", lambda *_: -1)
    shelf.receive(1, 1, 2)
    shelf.receive(2, 1, 2)
    shelf.receive(1, 3)
    shelf.restart()
    shelf.remove(1)
    assert shelf.problems() == []
    shelf.erase()
    assert (shelf.contains(1), shelf.holds(2)) == (False, 2)
    assert shelf.problems() == []
    shelf.restart()
    assert (shelf.holds(1), shelf.holds(2), shelf.problems()) == (0, 2, [])


def test_a_pack_goes_with_the_last_study_in_it(shelf):
    shelf.receive(1, 1, 2)
    shelf.receive(2, 1)
    shelf.restart()
    for study in (1, 2):
        assert len(list(shelf.packs.folder.iterdir())) == 1
        shelf.remove(study)
        shelf.erase()
    assert list(shelf.packs.folder.iterdir()) == []
    assert shelf.ledger.erasures.emptied() == {}
    assert shelf.ledger.inventory.packs() == {}
    assert shelf.problems() == []


def test_a_pack_that_is_still_written_to_is_erased_once_it_is_sealed(shelf, monkeypatch):
    shelf.receive(1, 1)
    shelf.remove(1)
    shelf.erase()
    assert shelf.contains(1)
    monkeypatch.setattr(packs_module, "LONGEST_OPEN_S", -1.0)
    shelf.receive(2, 1)
    shelf.erase()
    assert (shelf.contains(1), shelf.holds(2), shelf.problems()) == (False, 1, [])


@pytest.mark.parametrize("erased_first", [True, False])
def test_what_was_removed_is_not_taken_for_new_at_the_next_start(shelf, erased_first):
    """Its pack was not sealed: the listener was killed, and looks for records without rows."""
    shelf.receive(1, 1, 2)
    shelf.receive(2, 1)
    shelf.kill()
    shelf.remove(1)
    if erased_first:
        shelf.erase()
    shelf.start()
    assert (shelf.holds(1), shelf.holds(2), shelf.problems()) == (0, 1, [])
    shelf.erase()
    assert (shelf.contains(1), shelf.holds(2), shelf.problems()) == (False, 1, [])
    shelf.restart()
    assert (shelf.holds(1), shelf.holds(2), shelf.problems()) == (0, 1, [])


def test_a_copy_that_nobody_needed_does_not_come_back_either(shelf):
    """It was sent twice; the second copy has no row."""
    shelf.receive(1, 1)
    shelf.receive(1, 1)
    shelf.kill()
    shelf.remove(1)
    shelf.start()
    shelf.erase()
    assert (shelf.holds(1), shelf.contains(1), shelf.problems()) == (0, False, [])


def test_a_late_image_is_kept_and_the_same_one_too(shelf):
    shelf.receive(1, 1, 2)
    shelf.remove(1)
    shelf.receive(1, 2, 3)
    shelf.kill()
    shelf.start()
    assert shelf.holds(1) == 2
    shelf.erase()
    shelf.restart()
    shelf.erase()
    assert (shelf.holds(1), shelf.problems()) == (2, [])
    (seen,) = shelf.ledger.studies.receiving()
    assert seen.arrivals == 2


def test_an_image_without_a_row_that_came_before_the_removal_is_kept(shelf):
    """It was acknowledged, and the listener was killed."""
    shelf.receive(1, 1)
    shelf.recorder.settle = lambda *_, **__: None
    shelf.receive(1, 2)
    shelf.kill()
    shelf.remove(1)
    shelf.start()
    shelf.erase()
    assert (shelf.holds(1), shelf.problems()) == (1, [])


def test_an_older_ledger_brings_back_what_it_names_and_it_is_removed_again(shelf, tmp_path):
    """Yesterday's backup: of what is gone nothing comes back but the rows."""
    shelf.receive(1, 1)
    shelf.receive(2, 1)
    shelf.restart()
    with (
        sqlite3.connect(tmp_path / "ledger.sqlite3") as now,
        sqlite3.connect(tmp_path / "backup.sqlite3") as backup,
    ):
        now.backup(backup)
    shelf.remove(1)
    shelf.erase()
    shelf.receive(3, 1)
    shelf.stop()
    shelf.ledger.close()
    for file in tmp_path.glob("ledger.sqlite3*"):
        file.unlink()
    (tmp_path / "backup.sqlite3").rename(tmp_path / "ledger.sqlite3")
    shelf.__init__(tmp_path)
    assert (shelf.holds(2), shelf.holds(3)) == (1, 1)
    assert shelf.problems() == [Wrong.ALTERED]
    shelf.remove(1)
    shelf.erase()
    assert (shelf.holds(2), shelf.holds(3), shelf.problems()) == (1, 1, [])


def test_a_file_that_two_studies_share_goes_with_the_last(shelf):
    first = shelf.take(1, 1)
    shelf.take(2, 1)
    with shelf.ledger.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE instance SET sha256 = ? WHERE study_instance_uid = '1.2.3.2'", (first.sha256,)
        )
    shelf.remove(1)
    shelf.erase()
    assert shelf.holds(2) == 1
    shelf.remove(2)
    shelf.erase()
    assert not shelf.store.path(first.sha256).exists()
    assert shelf.ledger.erasures.files() == set()


def test_a_file_that_is_kept_anew_meanwhile_stays(shelf):
    shelf.take(1, 1)
    shelf.remove(1)
    assert shelf.problems() == []
    shelf.eraser.once()
    shelf.take(1, 1)
    shelf.now += orphans.SETTLED_S
    shelf.eraser.once()
    assert shelf.holds(1) == 1
    shelf.erase()
    assert (shelf.holds(1), shelf.problems()) == (1, [])
    assert shelf.ledger.erasures.files() == set()


def test_a_file_whose_row_is_still_on_its_way_stays(shelf):
    """It was kept at the very moment of the removal."""
    kept = shelf.take(1, 1)
    shelf.remove(1)
    shelf.eraser.once()
    again = keep_in(shelf.store, file_bytes(image(1, 1)))
    assert again.sha256 == kept.sha256
    shelf.now += orphans.SETTLED_S
    shelf.eraser.once()
    assert shelf.ledger.studies.record(again, "IMPORT") is Recording.NEW
    assert shelf.holds(1) == 1


def test_results_and_reports_go_too(shelf):
    shelf.take(1, 1)
    uid = "1.2.3.1"
    (seen,) = shelf.ledger.studies.receiving()
    inputs = (SelectedSeries(f"{uid}.0", ((f"{uid}.1", "a" * 64),)),)
    proposal = Proposal("m", "1", "b" * 64, inputs, ())
    (job_id,) = shelf.ledger.studies.close(seen, Study(uid, ()), [proposal], "c")
    made, report = (shelf.store.keep([MARKS[1] + name]) for name in (b"SR", b"report"))
    stored = StoredResult(
        "2.25.1", SYNTAX, "2.25.2", "", ResultKind.SEGMENTATION, 0, made.sha256, made.size_bytes
    )
    claim = shelf.ledger.jobs.claim(job_id)
    kinds = {"pacs": tuple(ResultKind)}
    shelf.ledger.jobs.complete(claim, [stored], kinds, summary={}, report_sha256=report.sha256)
    with shelf.ledger.database.write() as connection:
        connection.execute(update(delivery).values(state="SENT"))
    shelf.remove(1)
    assert shelf.problems() == []
    shelf.erase()
    assert not shelf.contains(1)
    assert shelf.problems() == []


def test_what_is_removed_while_files_are_hashed_is_no_difference(shelf):
    shelf.receive(1, 1)
    shelf.take(1, 2)
    shelf.take(2, 1)
    shelf.restart()
    found = verify(shelf.ledger, shelf.store, lambda *_: None)
    files = shelf.ledger.inventory.files

    def slow():
        for filed in list(files()):
            if shelf.ledger.studies.instances("1.2.3.1"):
                shelf.remove(1)
                shelf.erase()
            yield filed

    shelf.ledger.inventory.files = slow
    assert list(found) == []


def test_what_a_killed_process_had_taken_away_is_put_back(shelf):
    kept = shelf.take(1, 1)
    path = shelf.store.path(kept.sha256)
    path.rename(shelf.store.incoming / f"{path.name}{orphans.ASIDE}")
    orphans.put_back(shelf.store)
    assert shelf.holds(1) == 1


def test_a_disk_that_fails_ends_nothing(shelf, monkeypatch):
    shelf.receive(1, 1)
    shelf.restart()
    shelf.remove(1)
    with monkeypatch.context() as patch, log_lines() as lines:
        patch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "EIO")))
        shelf.erase()
    assert {(line["event"], line["reason"]) for line in lines} == {
        ("store.not_erased", "STORAGE_IO")
    }
    assert shelf.ledger.erasures.in_pack(shelf.ledger.erasures.packs()[0])
    shelf.erase()
    assert not shelf.contains(1)

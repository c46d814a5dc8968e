"""What was handed in is safe before it is acknowledged, and has its row soon after."""

import errno
import hashlib
import os
import threading
import time

import pytest
from wire import encoded

from dicom_node.domain.errors import LedgerBusy, OutOfSpace, ProcessingFailure
from dicom_node.ledger import Ledger
from dicom_node.receive import recorder as recorder_module
from dicom_node.receive.dataset import identify
from dicom_node.receive.incoming import Incoming, file_head
from dicom_node.receive.intake import Intake
from dicom_node.receive.pack import named_by
from dicom_node.receive.packs import Packs
from dicom_node.receive.recorder import Recorder
from dicom_node.receive.spool import Spool
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study
from dicom_node.verify import verify

SYNTAX = "1.2.840.10008.1.2.1"


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path / "store")


@pytest.fixture
def packs(store):
    return Packs(store.packs / "listen-0")


@pytest.fixture(params=[True, False], ids=["durable", "os"])
def spool(request, packs, ledger, store):
    made = Spool(packs, Recorder(packs, ledger, store), durable=request.param)
    made.start()
    return made


@pytest.fixture(scope="module")
def data():
    (image,) = make_study(phantom(1, slices=1, size=256))
    del image.file_meta
    return encoded(image)


def receive(packs, data):
    """(identity, incoming) as the receiving thread has them at the last fragment."""
    identity = identify(data, SYNTAX, implicit=False, little=True)
    incoming = Incoming(packs)
    incoming.begin(identity.sop_class_uid, identity.sop_instance_uid, SYNTAX)
    incoming.write(memoryview(data), last=True)
    return identity, incoming


def keep(spool, packs, data):
    """The refusal, or none."""
    identity, incoming = receive(packs, data)
    answered = threading.Event()
    answers = []

    def done(refusal):
        answers.append(refusal)
        answered.set()

    ticket = spool.keep(identity, "SENDER", incoming, done)
    ticket.settle()
    if ticket.safe:
        return None
    assert answered.wait(5)
    return answers[0]


def rows(ledger):
    return [
        i
        for s in ledger.studies.receiving()
        for i in ledger.studies.instances(s.study_instance_uid)
    ]


def test_a_row_says_where_the_bytes_lie(spool, packs, store, ledger, data):
    assert keep(spool, packs, data) is None
    spool.stop()
    (row,) = rows(ledger)
    content = store.file(row).open().read()
    assert content.endswith(data)
    assert len(content) == row.size_bytes
    assert hashlib.sha256(content).hexdigest() == row.sha256 == store.file(row).sha256()


@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_answer_was_lost_costs_no_instance(
    spool, packs, store, ledger, data, monkeypatch, times
):
    """A server may end between the two. What was asked again seemed to be a duplicate of itself,
    and its only copy was given up."""
    record_all, calls = ledger.studies.record_all, []

    def lose_the_answer(rows):
        calls.append(record_all(rows))
        if len(calls) <= times:
            raise LedgerBusy("the server has ended")
        return calls[-1]

    monkeypatch.setattr(recorder_module, "RETRY_S", 0)
    monkeypatch.setattr(ledger.studies, "record_all", lose_the_answer)
    assert keep(spool, packs, data) is None
    wait_for(lambda: len(calls) > times)
    spool.stop()
    (row,) = rows(ledger)
    assert store.file(row).is_as_expected
    assert not list(verify(ledger, store))


def test_what_comes_again_takes_no_room(spool, packs, ledger, data):
    for _ in range(3):
        assert keep(spool, packs, data) is None
    spool.stop()
    assert len(rows(ledger)) == 1
    (pack,) = packs.folder.iterdir()
    assert pack.stat().st_blocks * 512 < 2 * len(data)


def test_an_instance_without_a_row_gets_it_from_the_next_process(packs, store, ledger, data):
    """Killed between the answer and the row."""
    identity, incoming = receive(packs, data)
    dying = Spool(packs, Recorder(packs, ledger, store), durable=True)
    dying.keep(identity, "SENDER", incoming, lambda _: None)
    assert rows(ledger) == []
    again = Packs(packs.folder)
    next_one = Spool(again, Recorder(again, ledger, store), durable=True)
    next_one.start()
    next_one.stop()
    (row,) = rows(ledger)
    assert row.sha256 == incoming.sha256() == store.file(row).sha256()


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(
    spool, packs, ledger, data, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        identity, incoming = receive(packs, data)
        with pytest.raises(OutOfSpace):
            spool.keep(identity, "SENDER", incoming, lambda _: None)
    assert keep(spool, packs, data) is None
    spool.stop()
    assert len(rows(ledger)) == 1


def test_after_a_sync_that_failed_nothing_is_said_to_be_safe(
    packs, ledger, store, data, monkeypatch
):
    spool = Spool(packs, Recorder(packs, ledger, store), durable=True)
    spool.start()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "EIO")))
        assert isinstance(keep(spool, packs, data), ProcessingFailure)
    assert isinstance(keep(spool, packs, data), ProcessingFailure)
    spool.stop()
    assert rows(ledger) == []


def test_when_the_ledger_cannot_follow_no_more_is_taken(packs, ledger, store, data, monkeypatch):
    monkeypatch.setattr(recorder_module, "MOST_WAITING", 2)
    recorder = Recorder(packs, ledger, store)
    spool = Spool(packs, recorder, durable=False)
    for _ in range(2):
        assert keep(spool, packs, data) is None
    with pytest.raises(OutOfSpace) as refusal:
        keep(spool, packs, data)
    assert refusal.value.code == "HIGH_WATER"


class TestAgain:
    """What comes again is kept where the copy that was kept is not as it came."""

    @pytest.fixture(params=["open", "sealed"])
    def kept(self, request, spool, packs, store, ledger, data):
        """The row of an instance, in a pack with another one, that still grows or does not."""
        if request.param == "sealed":
            packs._pack_bytes = 2 * len(data)
        keep(spool, packs, other_than(data))
        keep(spool, packs, data)
        row = self.row(ledger, data, 2)
        assert (named_by(store.file(row).path) is not None) == (request.param == "sealed")
        return row

    def row(self, ledger, data, count):
        wanted = identify(data, SYNTAX, implicit=False, little=True).sop_instance_uid
        wait_for(lambda: len(rows(ledger)) == count)
        time.sleep(0.1)
        return next(row for row in rows(ledger) if row.sop_instance_uid == wanted)

    @pytest.mark.parametrize("damage", ["altered", "cut", "gone"])
    def test_it_takes_the_place_of_what_is_damaged(
        self, spool, packs, store, ledger, data, kept, damage
    ):
        place = store.file(kept)
        if damage == "altered":
            flip(place.path, place.offset + 500)
        elif damage == "cut":
            os.truncate(place.path, place.offset + 100)
        elif named_by(place.path) is not None:
            place.path.unlink()
        else:
            os.truncate(place.path, 0)
        assert keep(spool, packs, data) is None
        spool.stop()
        row = self.row(ledger, data, 2)
        assert store.file(row) != place
        assert store.file(row).sha256() == row.sha256 == kept.sha256
        others = {p.filed.sop_instance_uid for p in verify(ledger, store)}
        assert others == ({OTHER} if damage == "gone" else set())
        assert len(ledger.studies.receiving()) == 1
        assert ledger.studies.receiving()[0].arrivals == 2

    def test_it_does_not_where_all_is_well(self, spool, packs, store, ledger, data, kept):
        assert keep(spool, packs, data) is None
        spool.stop()
        assert self.row(ledger, data, 2) == kept
        assert list(verify(ledger, store)) == []

    def test_a_file_that_is_imported_does_too(self, spool, packs, store, ledger, data, kept):
        place = store.file(kept)
        flip(place.path, place.offset + 500)
        spool.stop()
        intake = Intake(store, ledger, reserve_mib=0, role="import")
        draft = intake.draft()
        draft.write(file_head(kept.sop_class_uid, kept.sop_instance_uid, SYNTAX) + data)
        assert intake.take(draft, source="IMPORT").code == "MENDED"
        row = self.row(ledger, data, 2)
        assert (row.pack, row.sha256) == ("", kept.sha256)
        assert list(verify(ledger, store)) == []


def test_rows_follow_the_bytes_to_the_disk(packs, store, ledger, data, monkeypatch):
    """Also where answers do not wait for it: after a power loss no row names lost bytes."""
    calls = []
    sync, record = os.fdatasync, ledger.studies.record_all
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append("sync"), sync(fd))[1])
    monkeypatch.setattr(
        ledger.studies, "record_all", lambda rows: (calls.append("rows"), record(rows))[1]
    )
    spool = Spool(packs, Recorder(packs, ledger, store), durable=False)
    spool.start()
    identity, incoming = receive(packs, data)
    ticket = spool.keep(identity, "SENDER", incoming, lambda _: None)
    assert ticket.safe
    assert calls == [], "the answer waits for nothing"
    ticket.settle()
    spool.stop()
    assert calls == ["sync", "rows"]


OTHER = "1.2.3.4.5"


def other_than(data):
    (image,) = make_study(phantom(2, slices=1, size=256))
    del image.file_meta
    one = identify(data, SYNTAX, implicit=False, little=True)
    image.StudyInstanceUID = one.study_instance_uid
    image.SOPInstanceUID = OTHER
    return encoded(image)


def wait_for(true):
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))

"""What was handed in is safe before it is acknowledged, and has its row soon after."""

import errno
import hashlib
import os
import threading

import pytest
from wire import encoded

from dicom_node.domain.errors import OutOfSpace, ProcessingFailure
from dicom_node.ledger import Ledger
from dicom_node.receive import recorder as recorder_module
from dicom_node.receive.dataset import identify
from dicom_node.receive.incoming import Incoming
from dicom_node.receive.packs import Packs
from dicom_node.receive.recorder import Recorder
from dicom_node.receive.spool import Spool
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study

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
def spool(request, packs, ledger):
    made = Spool(packs, Recorder(packs, ledger), durable=request.param)
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
    dying = Spool(packs, Recorder(packs, ledger), durable=True)
    dying.keep(identity, "SENDER", incoming, lambda _: None)
    assert rows(ledger) == []
    again = Packs(packs.folder)
    next_one = Spool(again, Recorder(again, ledger), durable=True)
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


def test_after_a_sync_that_failed_nothing_is_said_to_be_safe(packs, ledger, data, monkeypatch):
    spool = Spool(packs, Recorder(packs, ledger), durable=True)
    spool.start()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "EIO")))
        assert isinstance(keep(spool, packs, data), ProcessingFailure)
    assert isinstance(keep(spool, packs, data), ProcessingFailure)
    spool.stop()
    assert rows(ledger) == []


def test_when_the_ledger_cannot_follow_no_more_is_taken(packs, ledger, data, monkeypatch):
    monkeypatch.setattr(recorder_module, "MOST_WAITING", 2)
    recorder = Recorder(packs, ledger)
    spool = Spool(packs, recorder, durable=False)
    for _ in range(2):
        assert keep(spool, packs, data) is None
    with pytest.raises(OutOfSpace) as refusal:
        keep(spool, packs, data)
    assert refusal.value.code == "HIGH_WATER"

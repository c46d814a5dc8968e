"""What was acknowledged is found again; what was not whole is never taken for an instance."""

import errno
import os

import pytest
from wire import encoded

from dicom_node.domain.errors import OutOfSpace
from dicom_node.ledger import Ledger
from dicom_node.receive.copier import Copier
from dicom_node.receive.dataset import identify
from dicom_node.receive.incoming import Incoming
from dicom_node.receive.spool import FileSpool, JournalSpool
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
    return InstanceStore(tmp_path / "store", "listen-0")


@pytest.fixture(scope="module")
def data():
    (image,) = make_study(phantom(1, slices=1, size=64))
    del image.file_meta
    return encoded(image)


def receive(store, data):
    """(identity, incoming) as the receiving thread has them at the last fragment."""
    identity = identify(data, SYNTAX, implicit=False, little=True)
    incoming = Incoming(store)
    incoming.begin(identity.sop_class_uid, identity.sop_instance_uid, SYNTAX)
    incoming.write(memoryview(data))
    return identity, incoming


def restart(store, ledger):
    """Another process that finds the folder as it is."""
    spool = FileSpool(store, Copier(store, ledger, durable=False))
    spool.start()
    spool.stop()
    assert list(store.incoming.iterdir()) == []


def rows(ledger):
    return [i for s in ledger.studies.receiving() for i in ledger.studies.instances(
        s.study_instance_uid)]  # fmt: skip


def test_a_file_that_lies_in_its_place_without_a_row_gets_its_row(store, ledger, data):
    """Killed between the copier's two steps: the file has moved, the row is not written."""
    _, incoming = receive(store, data)
    store.adopt(type(store.root)(incoming.whole_file()))
    restart(store, ledger)
    assert [row.sha256 for row in rows(ledger)] == [incoming.sha256()]


def test_a_file_whose_writing_was_cut_off_is_no_instance(store, ledger, data):
    _, incoming = receive(store, data)
    file = incoming.whole_file()
    os.truncate(file, incoming.file_size - 2)
    restart(store, ledger)
    assert rows(ledger) == []


def test_a_disk_that_takes_a_part_of_an_instance_refuses_it(store, data, monkeypatch):
    """write(2) on a disk that fills up writes what fits and reports no error."""
    _, incoming = receive(store, data)
    monkeypatch.setattr(os, "writev", lambda handle, parts: os.write(handle, parts[0]))
    with pytest.raises(OutOfSpace):
        incoming.whole_file()
    assert list(store.incoming.iterdir()) == []


def test_a_full_disk_refuses_and_the_journal_goes_on_when_there_is_room(
    tmp_path, store, ledger, data, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    spool = JournalSpool(tmp_path / "journal", store, Copier(store, ledger, durable=True))
    spool.start()
    identity, incoming = receive(store, data)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(OutOfSpace):
            spool.keep(identity, "SENDER", incoming, lambda _: None)
    answers: list[object] = []
    spool.keep(identity, "SENDER", incoming, answers.append).settle()
    spool.stop()
    assert answers == [None]
    assert len(rows(ledger)) == 1

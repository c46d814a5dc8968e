"""What the listener acknowledges is in the store and in the ledger; what it refuses is answered."""

import hashlib
import shutil
import subprocess
import time

import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage, RLELossless
from pynetdicom import AE, build_context

from dicom_node.ledger import Ledger
from dicom_node.receive.listener import Listener
from dicom_node.redis_server import free_port
from dicom_node.send.cstore import Answer, Peer, echo, send
from dicom_node.settings.listen import Listen
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from dicom_node.verify import verify


def arrivals(ledger, count):
    """Wait until the recorder has written the rows of what was acknowledged."""
    for _ in range(100):
        receiving = ledger.studies.receiving()
        if sum(s.arrivals for s in receiving) >= count:
            break
        time.sleep(0.05)
    return receiving


DOORS = {
    "durable": {},
    "os": {"durability": "os"},
    "library": {"fast_path": False},
    "library, os": {"fast_path": False, "durability": "os"},
}


@pytest.fixture(params=DOORS)
def node(request, tmp_path):
    settings = Listen(port=free_port(), **DOORS[request.param])
    store = InstanceStore(tmp_path / "store")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    listener = Listener(settings, store.root, ledger)
    listener.start()
    peer = Peer("127.0.0.1", settings.port, settings.ae_title, "SENDER")
    yield peer, store, ledger
    listener.stop()
    ledger.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return save_study(make_study(phantom(1, slices=4, size=64)), tmp_path_factory.mktemp("study"))


def test_it_answers_echo(node):
    echo(node[0])


def test_acknowledged_bytes_are_kept_under_their_hash(node, files):
    peer, store, ledger = node
    assert [o.answer for o in send(peer, files)] == [Answer.SENT] * 4
    (seen,) = arrivals(ledger, 4)
    kept = ledger.studies.instances(seen.study_instance_uid)
    assert len(kept) == 4
    for instance in kept:
        data = store.file(instance).open().read()
        assert hashlib.sha256(data).hexdigest() == instance.sha256
    sent = {dcmread(f).SOPInstanceUID: dcmread(f).PixelData for f in files}
    for instance in kept:
        assert dcmread(store.file(instance).open()).PixelData == sent[instance.sop_instance_uid]


def test_sending_again_adds_nothing(node, files):
    peer, _, ledger = node
    for _ in range(2):
        assert [o.answer for o in send(peer, files)] == [Answer.SENT] * 4
    (seen,) = arrivals(ledger, 4)
    assert seen.arrivals == 4


def test_nothing_half_finished_stays(node, files):
    peer, store, ledger = node
    list(send(peer, files))
    arrivals(ledger, 4)
    assert [p for p in (store.root / "incoming").rglob("*") if p.is_file()] == []


@pytest.mark.dcmtk
@pytest.mark.skipif(not shutil.which("storescu"), reason="DCMTK's storescu is not installed")
def test_dcmtk_sends(node, files):
    peer, _, ledger = node
    command = ["storescu", "-aec", peer.ae_title, peer.host, str(peer.port), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (seen,) = arrivals(ledger, 4)
    assert seen.arrivals == 4


def status_of(peer, data, folder, **command):
    """C-STORE of a data set under a command that may name other UIDs (they come from the meta)."""
    for keyword, value in command.items():
        setattr(data.file_meta, keyword, value)
    path = folder / "sent.dcm"
    data.save_as(path, enforce_file_format=False)
    (outcome,) = send(peer, [path])
    return outcome.status


@pytest.fixture
def data(files):
    return dcmread(files[0])


def test_a_command_that_names_another_instance_is_refused(node, data, tmp_path):
    assert status_of(node[0], data, tmp_path, MediaStorageSOPInstanceUID="1.2.3") == 0xA900


def test_a_command_that_names_another_class_is_refused(node, data, tmp_path):
    assert status_of(node[0], data, tmp_path, MediaStorageSOPClassUID=MRImageStorage) == 0xA900


def test_a_data_set_without_its_uids_is_refused(node, data, tmp_path):
    del data.StudyInstanceUID
    assert status_of(node[0], data, tmp_path) == 0xA900


def test_a_uid_that_is_a_path_is_refused_and_writes_nothing(node, data, tmp_path):
    data.SeriesInstanceUID = "../../escaped"
    assert status_of(node[0], data, tmp_path) == 0x0117
    assert node[2].studies.receiving() == []
    assert not list(tmp_path.rglob("escaped*"))


def test_a_caller_that_is_not_on_the_list_is_rejected(tmp_path, files):
    settings = Listen(port=free_port(), callers=("MODALITY",))
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'l.sqlite3'}")
    listener = Listener(settings, tmp_path / "store", ledger)
    listener.start()
    try:
        entity = AE("STRANGER")
        association = entity.associate(
            "127.0.0.1", settings.port, [build_context("1.2.840.10008.1.1")], settings.ae_title
        )
        assert association.is_rejected
    finally:
        listener.stop()
        ledger.close()


def test_compressed_images_keep_their_transfer_syntax(node, data, tmp_path):
    data.compress(RLELossless)
    path = tmp_path / "rle.dcm"
    data.save_as(path)
    peer, _, ledger = node
    assert [o.answer for o in send(peer, [path])] == [Answer.SENT]
    (seen,) = arrivals(ledger, 1)
    (kept,) = ledger.studies.instances(seen.study_instance_uid)
    assert kept.transfer_syntax_uid == RLELossless


def test_several_processes_on_one_port_have_folders_of_their_own(tmp_path, files):
    settings = Listen(port=free_port(), processes=2)
    store = InstanceStore(tmp_path / "store")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'l.sqlite3'}")
    listeners = [Listener(settings, store.root, ledger, index=index) for index in range(2)]
    for listener in listeners:
        listener.start()
    peer = Peer("127.0.0.1", settings.port, settings.ae_title, "SENDER")
    for file in files:
        assert [o.answer for o in send(peer, [file])] == [Answer.SENT]
    for listener in listeners:
        listener.stop()
    assert {lock.name for lock in store.packs.glob("*.lock")} == {"listen-0.lock", "listen-1.lock"}
    alone = Listener(settings.model_copy(update={"processes": 1}), store.root, ledger)
    alone.start()
    alone.stop()
    (seen,) = arrivals(ledger, 4)
    assert seen.arrivals == 4
    assert list(verify(ledger, store)) == []
    ledger.close()

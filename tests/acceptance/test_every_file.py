"""Every file of the data folder is sent once: each is answered, each study ends with a reason."""

from collections import Counter, defaultdict

import pytest
from node import running_node
from pydicom import dcmread
from pydicom.misc import is_dicom
from sqlalchemy import select

from dicom_node.domain.errors import PeerUnreachable
from dicom_node.ledger.schema import study
from dicom_node.send.cstore import Answer, echo, send
from dicom_node.store import InstanceStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.redis,
    pytest.mark.shared,
    pytest.mark.timeout(900),
]
ENDS = {"ROUTED", "NO_MODEL", "QUARANTINED"}
ANSWERED = {"ANALYSED", "FAILED", "QUARANTINED", "DECLINED"}


def sendable(path) -> bool:
    """Whether a sender can build a C-STORE request from the file's meta information."""
    try:
        meta = dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta
        return bool(meta.MediaStorageSOPClassUID and meta.MediaStorageSOPInstanceUID)
    except Exception:  # noqa: BLE001 - any fault of the file
        return False


@pytest.fixture(scope="module")
def sent(tool, shared_data, tmp_path_factory):
    tool("redis-server")
    files = sorted(p for p in shared_data.rglob("*") if p.is_file() and is_dicom(p))
    files = [p for p in files if sendable(p)]
    with running_node(tmp_path_factory.mktemp("node"), None) as node:
        outcomes = []
        for file in files:
            try:
                outcomes += send(node.peer, [file])
            except PeerUnreachable:
                outcomes.append(None)
        with node.ledger.database.read() as connection:
            studies = set(connection.scalars(select(study.c.study_instance_uid)))
        pages = {uid: node.wait(uid, timeout_s=600) for uid in studies}
        yield node, files, outcomes, pages


def test_every_file_is_answered(sent):
    _, files, outcomes, _ = sent
    assert len(files) > 400
    unanswered = [
        f.name
        for f, o in zip(files, outcomes, strict=True)
        if o is None or (o.answer is Answer.TRY_LATER and o.status is None)
    ]
    assert unanswered == []


def test_what_was_acknowledged_is_in_the_ledger_and_in_the_store(sent):
    node, files, outcomes, _ = sent
    store = InstanceStore(node.settings.store_dir)
    kept = defaultdict(set)
    for uid in sent[3]:
        for instance in node.ledger.studies.instances(uid):
            assert store.file(instance).sha256() == instance.sha256
            kept[instance.sop_instance_uid].add(instance.sha256)
    for file, outcome in zip(files, outcomes, strict=True):
        if outcome.answer is Answer.SENT:
            uid = str(dcmread(file, stop_before_pixels=True).SOPInstanceUID).rstrip("\0 ")
            assert uid in kept, file


def test_every_study_ends_with_a_reason(sent):
    *_, pages = sent
    states = Counter(page.study["state"] for page in pages.values())
    assert set(states) <= ENDS
    for uid, page in pages.items():
        assert page.study["state"] == "ROUTED" or page.study["reason"], uid
        for job in page.jobs:
            assert job["state"] in ANSWERED, (uid, job["state"])
            assert job["state"] == "ANALYSED" or job["reason"], uid


def test_a_trap_for_naive_volumes_is_refused_with_a_reason(sent):
    *_, pages = sent
    reasons = {c["reason"] for page in pages.values() for c in page.selection if not c["taken"]}
    assert any("modality MR" in reason for reason in reasons)


def test_the_node_lives(sent):
    node = sent[0]
    echo(node.peer)
    assert node.process.poll() is None
    assert "role.ended" not in node.log.read_text()


def test_no_patient_is_named_in_the_log(sent):
    node, files, *_ = sent
    log = node.log.read_text()
    names = set()
    for file in files[::7]:
        try:
            data = dcmread(
                file, stop_before_pixels=True, specific_tags=["PatientName", "PatientID"]
            )
            names |= {str(data.get("PatientName", "")), str(data.get("PatientID", ""))}
        except Exception:  # noqa: BLE001 - a file that was sent to be refused
            continue
    assert not [n for n in names if len(n) > 5 and n in log]

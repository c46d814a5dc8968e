"""An archive is asked how many images it has of a study; what it says is looked at twice."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from orthanc import running_orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_node.domain.errors import PeerUnreachable
from dicom_node.redis_server import free_port
from dicom_node.send import query
from dicom_node.send.cstore import Peer, send
from dicom_node.send.query import STUDY_ROOT_FIND, instance_counts
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

ASKED = "1.2.3"
PENDING, SUCCESS, FAILURE = 0xFF00, 0x0000, 0xA700
Answers = Callable[[Dataset], Iterator[tuple[int, Dataset | None]]]


@pytest.mark.orthanc
def test_orthanc_counts_what_it_has(tool, tmp_path):
    files = save_study(make_study(phantom(1, slices=4, size=32)), tmp_path / "study")
    with running_orthanc(tool("Orthanc"), tmp_path / "orthanc") as orthanc:
        assert [outcome.status for outcome in send(orthanc.peer, files)] == [0] * 4
        uid = str(dcmread(files[0]).StudyInstanceUID)
        assert instance_counts(orthanc.peer, [uid, "1.2.3.4"]) == {uid: 4}


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ([("1.2.3", "7")], {ASKED: 7}),
        ([("1.2.4", "7")], {}),
        ([("1.2.4", "9"), ("1.2.3", "7"), ("1.2.3", "8")], {ASKED: 7}),
        ([("1.2.3", "0")], {}),
        ([("1.2.3", "99999999")], {}),
        ([("1.2.3", None)], {}),
        ([], {}),
    ],
)
def test_an_answer_counts_where_it_is_of_the_study_and_makes_sense(said, count):
    def answers(_query):
        for uid, number in said:
            yield PENDING, _answer(uid, number)
        yield SUCCESS, None

    with archive(answers) as peer:
        assert instance_counts(peer, [ASKED]) == count


def test_an_archive_that_cannot_match_by_uid_is_cut_off():
    def answers(_query):
        for number in range(1000):
            yield PENDING, _answer(f"1.9.{number}", "1")

    with archive(answers) as peer, pytest.raises(PeerUnreachable, match="more answers"):
        instance_counts(peer, [ASKED])


def test_an_archive_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(query, "ANSWER_TIMEOUT_S", 0.5)

    def answers(_query):
        time.sleep(2)
        yield SUCCESS, None

    with archive(answers) as peer, pytest.raises(PeerUnreachable):
        instance_counts(peer, [ASKED])


def test_a_failure_is_no_count():
    def answers(_query):
        yield FAILURE, None

    with archive(answers) as peer:
        assert instance_counts(peer, [ASKED]) == {}


def test_a_peer_that_takes_no_question_is_named():
    with archive(None) as peer, pytest.raises(PeerUnreachable, match="C-FIND"):
        instance_counts(peer, [ASKED])


def test_a_peer_that_is_not_there():
    with pytest.raises(PeerUnreachable):
        instance_counts(Peer("127.0.0.1", free_port(), "ARCHIVE", "NODE"), [ASKED])


def _answer(uid: str, number: str | None) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel, found.StudyInstanceUID = "STUDY", uid
    if number is not None:
        found.NumberOfStudyRelatedInstances = number
    return found


@contextmanager
def archive(answers: Answers | None) -> Iterator[Peer]:
    """A C-FIND SCP; without answers it takes nothing but C-ECHO."""
    entity = AE("ARCHIVE")
    entity.add_supported_context("1.2.840.10008.1.1")
    handlers = []
    if answers is not None:
        entity.add_supported_context(STUDY_ROOT_FIND)
        handlers.append((evt.EVT_C_FIND, lambda event: answers(event.identifier)))
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield Peer("127.0.0.1", port, "ARCHIVE", "NODE")
    finally:
        server.shutdown()

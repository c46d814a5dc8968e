"""An archive is asked for what it was sent, by Storage Commitment, else by C-FIND; its report is
taken on our association and on its own, and what is no report of what was asked changes nothing."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from committing import Archive, running, send_report
from door import Door, open_door
from orthanc import running_orthanc
from outbox import PACS, Outbox
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from wire import command, pdv

from dicom_node.doctor_destinations import destinations
from dicom_node.domain.delivery import Proof, ResultKind, StoredResult
from dicom_node.domain.errors import LedgerBusy
from dicom_node.receive import library
from dicom_node.receive.reading import NoticeReader
from dicom_node.receive.reports import Reports
from dicom_node.send import commitment
from dicom_node.send.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, offers, prove
from dicom_node.send.cstore import Peer, send
from dicom_node.settings.listen import Listen
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Destination
from dicom_node.testing.pacs import FakePacs, Received
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.tasks import deliver


@pytest.fixture(scope="module")
def reader() -> Iterator[NoticeReader]:
    """One child for all tests."""
    made = NoticeReader()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _lent(reader, monkeypatch):
    lent = NoticeReader()
    monkeypatch.setattr(lent, "read", reader.read)
    monkeypatch.setattr(library, "NoticeReader", lambda: lent)


@pytest.fixture
def door(tmp_path) -> Iterator[Door]:
    with open_door(tmp_path, proves=True) as opened:
        yield opened


@pytest.fixture
def outbox(tmp_path, door) -> Iterator[Outbox]:
    """Over the ledger of the door."""
    made = Outbox(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def ask(outbox, reader):
    """One round of questions to a peer."""

    def ask(peer: Peer, offer: Proof = Proof.COMMITMENT) -> None:
        reports = Reports(outbox.ledger, reader, lambda _: {"aet": peer.ae_title})
        prove(outbox.claim(), peer, outbox.ledger, reports.on_report, offer)

    return ask


class TestAsking:
    def test_a_report_on_the_same_association_confirms(self, outbox, ask):
        with running(Archive()) as archive:
            ask(archive.peer)
        assert outbox.told() == {("CONFIRMED", "")}
        (asked,) = archive.asked
        named = {item.ReferencedSOPInstanceUID for item in asked.ReferencedSOPSequence}
        assert named == set(outbox.uids())
        assert archive.statuses == [0]

    def test_what_is_not_committed_goes_again(self, outbox, ask):
        lost = outbox.uids()[0]
        archive = Archive(failed=lambda uid: 0x0112 if uid == lost else 0)
        with running(archive):
            ask(archive.peer)
        assert outbox.told() == {("CONFIRMED", ""), ("READY", "COMMITMENT_0112")}
        outbox.pass_time()
        (again,) = outbox.send(Proof.COMMITMENT)
        assert again.result.sop_instance_uid == lost

    def test_the_archive_of_the_demo_commits_to_what_it_has(self, outbox, ask, tmp_path):
        missing, *others = outbox.uids()
        with FakePacs(tmp_path / "archive", commits=True) as archive:
            archive.received += [Received(tmp_path, uid, "", 0, 0.0) for uid in others]
            ask(Peer(archive.host, archive.port, archive.ae_title, "NODE"))
        states = {row["sop_instance_uid"]: row["state"] for row in outbox.wanted()}
        assert states == dict.fromkeys(others, "CONFIRMED") | {missing: "READY"}

    def test_silence_ends_in_c_find_which_may_be_late(self, outbox, ask, monkeypatch):
        monkeypatch.setattr(commitment, "REPORT_WAIT_S", 0)
        with running(Archive(silent=True)) as archive:
            for _ in range(3):
                ask(archive.peer)
                assert {state for state, _ in outbox.told()} == {"COMMITMENT_ASKED"}
                outbox.pass_time()
            assert len({asked.TransactionUID for asked in archive.asked}) == 3
            claim = outbox.claim()
            prove(claim, archive.peer, outbox.ledger, lambda _: (0, None), claim.by)
            assert outbox.told() == {("SENT", "NOT_FOUND")}
            assert set(archive.looked) == set(outbox.uids())
            outbox.pass_time()
            archive.has = set(outbox.uids())
            ask(archive.peer, Proof.QUERY)
        assert outbox.told() == {("CONFIRMED", "FOUND")}
        assert len(archive.asked) == 3

    def test_without_commitment_it_is_looked_for(self, outbox, ask):
        archive = Archive(takes_commitment=False, has=set(outbox.uids()))
        with running(archive):
            assert offers(archive.peer) == {Proof.QUERY}
            ask(archive.peer)
        assert outbox.told() == {("CONFIRMED", "FOUND")}

    def test_a_c_find_that_fails_says_nothing(self, outbox, ask):
        with running(Archive(takes_commitment=False, status_of_find=0xC001)) as archive:
            ask(archive.peer)
        assert outbox.told() == {("SENT", "NO_ANSWER")}

    def test_who_offers_neither_leaves_it_unproven(self, outbox, ask):
        with running(Archive(takes_commitment=False, takes_find=False)) as archive:
            assert offers(archive.peer) == set()
            ask(archive.peer)
        assert outbox.told() == {("SENT", "UNPROVEN")}
        assert outbox.commitments.waiting() == []

    def test_a_no_to_the_question_is_asked_later(self, outbox, ask):
        with running(Archive(answer=0x0213)) as archive:
            ask(archive.peer)
        assert outbox.told() == {("SENT", "COMMITMENT_0213")}

    def test_who_is_not_there_is_asked_later(self, outbox, ask):
        ask(Archive().peer)
        assert outbox.told() == {("SENT", "PEER_UNREACHABLE")}
        assert outbox.claim() is None


class TestByTheSettings:
    """Of a destination, as the worker's task and the doctor see it."""

    @pytest.mark.parametrize(
        ("proof", "told", "asked"),
        [("commitment", "CONFIRMED", 1), ("query", "CONFIRMED", 0), ("none", "SENT", 0)],
    )
    def test_the_task_asks_as_they_say(self, outbox, reader, proof, told, asked):
        with running(Archive(has=set(outbox.uids()))) as archive:
            settings = Settings(destinations=[to(archive, proof=proof)])
            reports = partial(Reports, outbox.ledger, reader, lambda _: {})
            worker = SimpleNamespace(
                settings=settings, ledger=outbox.ledger, store=None, reports=lambda _: reports()
            )
            deliver(worker, outbox.job, PACS)
        assert {state for state, _ in outbox.told()} == {told}
        assert (len(archive.asked), bool(archive.looked)) == (asked, proof == "query")

    def test_what_went_where_nothing_goes_any_more_stays_as_it_is(self, outbox):
        deliver(SimpleNamespace(settings=Settings(), ledger=outbox.ledger), outbox.job, PACS)
        assert outbox.told() == {("SENT", "UNKNOWN_DESTINATION")}
        assert outbox.commitments.waiting() == []

    @pytest.mark.parametrize(
        ("changes", "health", "found"),
        [
            ({}, "ok", "takes Storage Commitment and C-FIND"),
            ({"takes_commitment": False}, "note", "takes C-FIND"),
            ({"takes_commitment": False, "takes_find": False}, "note", "takes neither proof"),
        ],
    )
    def test_the_doctor_says_what_it_takes(self, changes, health, found):
        with running(Archive(**changes)) as archive:
            checks = list(destinations(Settings(destinations=[to(archive)])))
        (check,) = [check for check in checks if check.what == "proof by pacs"]
        assert (check.health.value, check.found) == (health, found)

    def test_the_doctor_says_that_its_reports_would_be_refused(self):
        with running(Archive()) as archive:
            settings = Settings(destinations=[to(archive)], listen=Listen(callers=["CT1"]))
            (check,) = [c for c in destinations(settings) if c.what == "proof by pacs"]
        assert check.health.value == "note"
        assert "listen.callers name ARCHIVE" in check.advice


def to(archive: Archive, **settings: Any) -> Destination:
    """It as a destination."""
    where = {"host": "127.0.0.1", "port": archive.port, "ae_title": archive.title}
    return Destination(name=PACS, **where, **settings)


def report_on(outbox: Outbox, **changes: Any) -> Dataset:
    """On all that is asked now."""
    asked = commitment.request(outbox.ask(), outbox.sent)
    data, *_ = Archive(**changes).report(asked)
    return data


class TestReports:
    @pytest.mark.parametrize("role", [True, None])
    def test_on_an_association_of_the_archive(self, door, outbox, role):
        data = report_on(outbox)
        assert send_report(door.settings.port, data, role=role) == 0
        assert outbox.told() == {("CONFIRMED", "")}
        assert send_report(door.settings.port, data, role=role) == 0
        assert door.said("DUP_SAME")["event"] == "report.taken"
        assert outbox.told() == {("CONFIRMED", "")}

    def test_what_is_no_report_of_what_was_asked(self, door, outbox):
        port, good = door.settings.port, report_on(outbox)
        unknown, more, nothing, bad, both = (dcm(good) for _ in range(5))
        unknown.TransactionUID = "1.2.3"
        more.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
        del nothing.TransactionUID
        bad.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "../../x"
        both.FailedSOPSequence = good.ReferencedSOPSequence
        for data, kind, instance, status, reason in (
            (unknown, 1, PUSH_MODEL_INSTANCE, 0x0115, "REPORT_UNKNOWN"),
            (more, 1, PUSH_MODEL_INSTANCE, 0x0115, "REPORT_NOT_ASKED"),
            (nothing, 1, PUSH_MODEL_INSTANCE, 0x0115, "UID_MISSING"),
            (bad, 1, PUSH_MODEL_INSTANCE, 0x0115, "UID_INVALID"),
            (both, 2, PUSH_MODEL_INSTANCE, 0x0115, "REPORT_CONTRADICTS"),
            (good, 3, PUSH_MODEL_INSTANCE, 0x0113, "REPORT_EVENT"),
            (good, 1, "1.2.3", 0x0112, "REPORT_INSTANCE"),
        ):
            assert send_report(port, data, kind, instance) == status
            assert door.said(reason)["status"] == f"{status:04X}"
        assert outbox.told() == {("COMMITMENT_ASKED", "")}
        assert send_report(port, good) == 0

    def test_bytes_that_are_no_data_set(self, door, outbox):
        outbox.ask()
        with door.associated((PUSH_MODEL, [ExplicitVRLittleEndian])) as wire:
            about = {"sop_class": PUSH_MODEL, "sop_instance": PUSH_MODEL_INSTANCE}
            notice = command(0x0100, event_type=1, **about)
            wire.send(pdv(notice, command=True), pdv(b"not a data set"))
            assert wire.status() == 0x0110
        door.said("UNPARSEABLE")
        assert outbox.told() == {("COMMITMENT_ASKED", "")}

    def test_a_ledger_that_is_locked(self, door, outbox, monkeypatch):
        def busy(*_: Any) -> None:
            raise LedgerBusy("locked")

        data = report_on(outbox)
        monkeypatch.setattr(door.ledger.commitments, "report", busy)
        assert send_report(door.settings.port, data) == 0x0213
        assert door.said("LEDGER_BUSY")["status"] == "0213"

    def test_who_wants_us_to_commit_is_told_no_beside_its_images(self, door):
        """Modalities ask for it in the association that stores, and must not be slowed by it."""
        as_scu = [build_role(PUSH_MODEL, scu_role=True)]
        for roles, *classes in ([], CTImageStorage, PUSH_MODEL), (as_scu, Verification, PUSH_MODEL):
            entity, where = AE("MODALITY"), ("127.0.0.1", door.settings.port)
            for uid in classes:
                entity.add_requested_context(uid)
            association = entity.associate(*where, ae_title="DICOM_NODE", ext_neg=roles)
            accepted = [str(context.abstract_syntax) for context in association.accepted_contexts]
            association.release()
            assert accepted == classes[:1]
        door.said("NO_CONTEXT")


def test_who_may_not_call_may_not_report(tmp_path):
    with open_door(tmp_path, proves=True, callers=["PACS"]) as door:
        outbox = Outbox(tmp_path)
        data = report_on(outbox)
        assert send_report(door.settings.port, data) is None
        door.said("CALLING_AE")
        assert outbox.told() == {("COMMITMENT_ASKED", "")}
        assert send_report(door.settings.port, data, title="PACS") == 0
        outbox.ledger.close()


def test_a_door_without_a_destination_to_prove_takes_no_reports(tmp_path):
    with open_door(tmp_path) as door:
        assert send_report(door.settings.port, Dataset()) is None
        door.said("NO_CONTEXT")


def dcm(data: Dataset) -> Dataset:
    """A copy of its own."""
    return Dataset.from_json(data.to_json())


@pytest.mark.orthanc
def test_orthanc_commits_to_what_it_has_and_says_what_it_lacks(tool, tmp_path, door):
    """It reports on an association of its own, to the address that it knows us by."""
    files = save_study(make_study(phantom(1, slices=4, size=16, lesions=0)), tmp_path / "study")
    title = door.settings.ae_title
    node = {"node": [title, "127.0.0.1", door.settings.port]}
    with running_orthanc(tool("Orthanc"), tmp_path / "orthanc", modalities=node) as orthanc:
        peer = replace(orthanc.peer, calling_ae=title)
        assert [outcome.status for outcome in send(peer, files)] == [0] * 4
        assert offers(peer) == {Proof.COMMITMENT, Proof.QUERY}
        outbox = Outbox(tmp_path, [*map(stored, files, range(4)), stored(files[0], 4, "1.2.3.9")])
        unproven = outbox.claim()
        prove(unproven, peer, outbox.ledger, lambda _: (0, None), unproven.by)
        deadline = time.monotonic() + 20
        while {state for state, _ in outbox.told()} == {"COMMITMENT_ASKED"}:
            assert time.monotonic() < deadline, door.lines[-5:]
            time.sleep(0.05)
    told = {row["sop_instance_uid"]: (row["state"], row["reason"]) for row in outbox.wanted()}
    outbox.ledger.close()
    assert told.pop("1.2.3.9") == ("READY", "COMMITMENT_0112")
    assert list(told.values()) == [("CONFIRMED", "")] * 4


def stored(file: Path, position: int, uid: str = "") -> StoredResult:
    """A file as a result."""
    data = dcmread(file)
    uid = uid or str(data.SOPInstanceUID)
    kind = ResultKind.DERIVED_IMAGE
    return StoredResult(uid, data.SOPClassUID, "1.2.3", "", kind, position, "a" * 64, 1)

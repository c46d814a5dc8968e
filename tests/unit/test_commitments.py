"""What was sent is asked for until the archive confirms it, and nothing else calls it confirmed."""

import pytest
from outbox import PACS, Outbox
from ward import MODEL, NEGATIVE, Visitor, Ward

from dicom_node.domain.delivery import Proof, ResultKind, StoredResult
from dicom_node.domain.errors import LedgerConflict
from dicom_node.ledger.commitments import MOST_ASKED, MOST_LOOKS, Reported
from dicom_node.ledger.worklist import Stage


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path)
    yield made
    made.ledger.close()


def test_a_report_confirms_what_was_asked_and_a_second_one_changes_nothing(outbox):
    transaction = outbox.ask()
    assert outbox.told() == {("COMMITMENT_ASKED", "")}
    report = outbox.commitments.report
    assert report(transaction, outbox.uids(), {}) is Reported.TAKEN
    assert outbox.told() == {("CONFIRMED", "")}
    assert report(transaction, outbox.uids(), {}) is Reported.TWICE
    assert (
        report(transaction, [], dict.fromkeys(outbox.uids(), "COMMITMENT_0112")) is Reported.TWICE
    )
    assert outbox.told() == {("CONFIRMED", "")}
    assert outbox.commitments.waiting() == []


def test_a_report_of_what_nobody_asked_changes_nothing(outbox):
    transaction = outbox.ask()
    report = outbox.commitments.report
    assert report("1.2.3", outbox.uids(), {}) is Reported.UNKNOWN
    assert report("", outbox.uids(), {}) is Reported.UNKNOWN
    assert report(transaction, [*outbox.uids(), "1.2.3"], {}) is Reported.NOT_ASKED
    assert report(transaction, [], {"1.2.3": "COMMITMENT_0112"}) is Reported.NOT_ASKED
    assert outbox.told() == {("COMMITMENT_ASKED", "")}


def test_what_is_not_committed_goes_again_a_few_times_and_is_then_held(outbox):
    (lost, *others) = outbox.uids()
    failed = {lost: "COMMITMENT_0112"}
    for _ in range(2):
        named = [uid for uid in outbox.uids() if uid != lost] if others else []
        assert outbox.commitments.report(outbox.ask(), named, failed) is Reported.TAKEN
        others = []
        assert ("READY", "COMMITMENT_0112") in outbox.told()
        assert outbox.claim() is None
        outbox.pass_time()
        assert [d.result.sop_instance_uid for d in outbox.send(Proof.COMMITMENT)] == [lost]
    outbox.commitments.report(outbox.ask(), [], failed)
    assert outbox.told() == {("CONFIRMED", ""), ("HELD", "COMMITMENT_0112")}
    (row,) = [row for row in outbox.wanted() if row["state"] == "HELD"]
    assert outbox.ledger.deliveries.retry(row["id"])
    outbox.send(Proof.COMMITMENT)
    outbox.commitments.report(outbox.ask(), [lost], {})
    assert outbox.told() == {("CONFIRMED", "")}


def test_a_second_worker_finds_nothing_to_ask_and_a_late_one_changes_nothing(outbox):
    late = outbox.claim()
    assert outbox.claim() is None
    outbox.pass_time()
    outbox.ask()
    for change in (
        lambda: outbox.commitments.ask(late),
        lambda: outbox.commitments.found(late, late.deliveries[0]),
        lambda: outbox.commitments.missed(late, late.deliveries[0], is_gone=True),
    ):
        with pytest.raises(LedgerConflict):
            change()
    outbox.commitments.postpone(late, "NO_ANSWER")
    outbox.commitments.give_up(late)
    assert outbox.told() == {("COMMITMENT_ASKED", "")}


def test_silence_asks_anew_and_after_a_few_times_by_c_find(outbox):
    transactions = []
    for _ in range(MOST_ASKED):
        claim = outbox.claim()
        assert claim.by is Proof.COMMITMENT
        transactions.append(outbox.commitments.ask(claim))
        assert outbox.claim() is None
        assert outbox.commitments.waiting() == []
        outbox.pass_time()
        assert outbox.commitments.waiting() == [(outbox.job, PACS)]
    assert len(set(transactions)) == MOST_ASKED
    assert outbox.commitments.report(transactions[0], outbox.uids(), {}) is Reported.UNKNOWN
    assert outbox.claim().by is Proof.QUERY
    assert outbox.told() == {("SENT", "COMMITMENT_SILENT")}
    assert outbox.commitments.report(transactions[-1], outbox.uids(), {}) is Reported.TAKEN
    assert outbox.told() == {("CONFIRMED", "")}


def test_a_no_to_the_question_is_an_answer_of_the_same_kind(outbox):
    for _ in range(MOST_ASKED):
        outbox.commitments.refused(outbox.ask(), "COMMITMENT_0213")
        assert outbox.told() == {("SENT", "COMMITMENT_0213")}
        assert outbox.claim() is None
        outbox.pass_time()
    assert outbox.claim().by is Proof.QUERY


def test_who_cannot_be_reached_is_asked_later_as_often_as_it_takes(outbox):
    for _ in range(10):
        outbox.commitments.postpone(outbox.claim(), "PEER_UNREACHABLE")
        assert outbox.told() == {("SENT", "PEER_UNREACHABLE")}
        outbox.pass_time()
    assert outbox.claim().by is Proof.COMMITMENT


def test_what_c_find_does_not_find_goes_again_once_and_is_then_held(outbox):
    there = outbox.uids()[1:]
    for number in range(MOST_LOOKS):
        outbox.look(there)
        state = "READY" if number == MOST_LOOKS - 1 else "SENT"
        assert outbox.told() == {("CONFIRMED", "FOUND"), (state, "NOT_FOUND")}
        outbox.pass_time()
    outbox.send(Proof.QUERY)
    for _ in range(MOST_LOOKS):
        outbox.look()
        outbox.pass_time()
    assert outbox.told() == {("CONFIRMED", "FOUND"), ("HELD", "NOT_FOUND")}


def test_a_c_find_without_an_answer_is_no_proof_that_it_is_gone(outbox):
    for _ in range(MOST_LOOKS):
        outbox.look(is_gone=False)
        outbox.pass_time()
    assert outbox.told() == {("SENT", "UNPROVEN")}
    assert outbox.claim() is None


def test_nothing_is_asked_while_some_of_it_still_goes(outbox):
    row = outbox.wanted()[0]
    with outbox.ledger.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE delivery SET state = 'READY', proof = '' WHERE id = ?", (row["id"],)
        )
    assert outbox.commitments.waiting() == []
    assert outbox.claim() is None
    outbox.send(Proof.COMMITMENT)
    assert len(outbox.claim().deliveries) == len(outbox.sent)


def test_a_warning_of_c_store_stays_with_what_is_confirmed(tmp_path):
    ward = Ward.open(tmp_path)
    (job,) = ward.close(ward.receive("Doe^Jane"), MODEL)
    ward.complete(job, NEGATIVE)
    shipment = ward.ledger.deliveries.claim(job, PACS)
    for item in shipment.deliveries:
        ward.ledger.deliveries.sent(shipment, item, "STATUS_B007", Proof.COMMITMENT)
    commitments = ward.ledger.commitments
    uids = [item.result.sop_instance_uid for item in shipment.deliveries]
    commitments.report(commitments.ask(commitments.claim(job, PACS)), uids[:1], {})
    rows = ward.ledger.pages.study("1.2.3.1").deliveries
    assert ("CONFIRMED", "STATUS_B007") in {(row["state"], row["reason"]) for row in rows}
    ward.ledger.close()


def test_what_a_reader_rejected_is_asked_for_no_more_and_counts_as_sent(outbox):
    from datetime import UTC, datetime

    from dicom_node.domain.review import Review, Verdict

    uids = set(outbox.uids())
    outbox.commitments.report(outbox.ask(), outbox.uids()[:1], {})
    said = Review(outbox.job, "Dr. A", Verdict.REJECT, "", datetime.now(UTC))
    assert outbox.ledger.rejections.ask(said)
    assert outbox.ledger.rejections.waiting() == [outbox.job]
    sent = outbox.ledger.rejections.sent(outbox.job)[PACS]
    assert {row["sop_instance_uid"] for row in sent} == uids
    outbox.pass_time()
    assert outbox.claim() is None
    assert outbox.told() == {("CONFIRMED", ""), ("SENT", "COMMITMENT_SILENT")}
    assert outbox.commitments.waiting() == []


def test_a_report_that_is_held_lets_its_next_form_go(tmp_path):
    """An archive that took a 3D SR, and says afterwards that it does not support it."""
    forms = (ResultKind.STRUCTURED_REPORT, ResultKind.FLAT_REPORT)
    results = [
        StoredResult(f"1.2.{n}", "1.2", "1.3", "", kind, n, "a" * 64, 1)
        for n, kind in enumerate(forms)
    ]
    outbox = Outbox(tmp_path, results)
    assert outbox.uids() == ["1.2.0"]
    for _ in range(2):
        outbox.commitments.report(outbox.ask(), [], {"1.2.0": "COMMITMENT_0122"})
        outbox.pass_time()
        outbox.send(Proof.COMMITMENT)
    outbox.commitments.report(outbox.ask(), [], {"1.2.0": "COMMITMENT_0122"})
    assert outbox.told() == {("HELD", "COMMITMENT_0122"), ("READY", "")}
    outbox.send(Proof.COMMITMENT)
    outbox.commitments.report(outbox.ask(), ["1.2.1"], {})
    assert outbox.told() == {("CONFIRMED", "")}
    outbox.ledger.close()


def test_the_pages_say_what_is_proven_and_what_is_not(outbox):
    visitor = Visitor(outbox.ward)

    def says(words):
        pages = visitor.get("/").text, visitor.get(f"/studies/{outbox.uid}").text
        return all(words in page for page in pages)

    assert says("Sent, not yet confirmed")
    transaction = outbox.ask()
    assert says("Sent, not yet confirmed")
    assert not says("Confirmed by PACS")
    outbox.commitments.refused(transaction, "COMMITMENT_0213")
    outbox.pass_time()
    outbox.commitments.give_up(outbox.claim())
    assert says("Sent; this archive offers no proof")
    assert not says("Confirmed by PACS")
    assert outbox.ledger.pages.worklist().counts == {Stage.RESULT: 1}
    outbox.commitments.report(transaction, outbox.uids(), {})
    assert says("Confirmed by PACS")

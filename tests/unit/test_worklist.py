"""The worklist finds each study once, under the stage that its latest jobs give it."""

import pytest
from ward import MODEL, NEGATIVE, Ward, every_state

from dicom_node.ledger.worklist import Stage


def stage_of(ward: Ward, uid: str) -> Stage:
    """The one stage under which a study is listed."""
    found = [
        stage
        for stage in Stage
        if any(
            entry.study["study_instance_uid"] == uid
            for entry in ward.ledger.pages.worklist(stage=stage).entries
        )
    ]
    assert len(found) == 1
    return found[0]


def test_every_study_is_counted_under_exactly_one_stage(ward: Ward) -> None:
    studies = every_state(ward)
    counts = ward.ledger.pages.worklist().counts
    assert sum(counts.values()) == len(studies)
    for uid in studies.values():
        stage_of(ward, uid)


def test_the_newest_study_comes_first_also_when_a_late_image_arrives(ward: Ward) -> None:
    first, second = ward.receive("First^F"), ward.receive("Second^S")
    ward.add_images(first, 1, first=90)
    entries = ward.ledger.pages.worklist().entries
    assert [entry.study["study_instance_uid"] for entry in entries] == [first, second]
    assert [entry.images for entry in entries] == [4, 3]


def test_a_failure_that_a_later_analysis_took_the_place_of_needs_nobody(ward: Ward) -> None:
    uid = ward.receive("Doe^Jane")
    (job_id,) = ward.close(uid, MODEL)
    ward.ledger.jobs.quarantine(ward.claim(job_id), "GEOMETRY")
    assert stage_of(ward, uid) is Stage.ATTENTION
    ward.add_images(uid, 1, first=90)
    (second,) = ward.close(uid, MODEL)
    assert stage_of(ward, uid) is Stage.PROGRESS
    ward.complete(second, NEGATIVE)
    assert stage_of(ward, uid) is Stage.PROGRESS, "it is still to be sent"
    ward.send(second, "pacs", "", "", "", "")
    assert stage_of(ward, uid) is Stage.RESULT


def test_a_result_is_not_hidden_when_no_model_reads_the_later_images(ward: Ward) -> None:
    uid = ward.receive("Doe^Jane")
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, NEGATIVE, destinations=())
    ward.add_images(uid, 1, first=90)
    ward.close(uid)
    assert stage_of(ward, uid) is Stage.RESULT


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("doe", 2),
        ("DOE jane", 1),
        ("jane doe", 1),
        ("p-0002", 1),
        ("1.2.3.", 4),
        ("_", 0),
        ("%", 0),
        ("/", 0),
        ("Müller", 1),
        ("müller JÖRG", 1),
        ("MÜLLER", 1),
        ("Müller, Jörg", 1),
        ("张三", 1),
        ("Zhang, San (张 三)", 1),
        ("   ", 4),
        ("' OR 1=1 --", 0),
        ("x " * 500, 0),
    ],
)
def test_each_word_must_be_found_somewhere(ward: Ward, search: str, found: int) -> None:
    for name in ("Doe^Jane", "Doe^John", "Müller^Jörg", "Zhang^San=张^三"):
        ward.close(ward.receive(name))
    worklist = ward.ledger.pages.worklist(search=search)
    assert len(worklist.entries) == worklist.total == found


def test_of_what_is_held_the_reason_is_told_before_that_of_what_waits(ward: Ward) -> None:
    (job_id,) = ward.close(ward.receive("Doe^Jane"), MODEL)
    ward.complete(job_id, NEGATIVE)
    ward.send(job_id, "pacs", "!NO_CONTEXT", "PEER_UNREACHABLE")
    (progress,) = ward.ledger.pages.worklist().entries[0].deliveries
    assert (progress.held, progress.postponed, progress.reason) == (1, 1, "NO_CONTEXT")


@pytest.mark.parametrize(("asked", "given"), [(-3, 1), (1, 1), (3, 3), (99, 3)])
def test_a_page_beyond_the_last_is_the_last(ward: Ward, asked: int, given: int) -> None:
    for number in range(5):
        ward.receive(f"Doe^{number}", images=1)
    worklist = ward.ledger.pages.worklist(page=asked, size=2)
    assert (worklist.page, worklist.pages, worklist.total) == (given, 3, 5)
    assert len(worklist.entries) == (1 if given == 3 else 2)


def test_the_pages_never_carry_the_list_of_every_image(ward: Ward) -> None:
    uid = every_state(ward)["sent"]
    page = ward.ledger.pages.study(uid)
    assert page
    rows = [*page.jobs, *(j for e in ward.ledger.pages.worklist().entries for j in e.jobs)]
    assert all("inputs" not in row and "token" not in row for row in rows)

"""Five studies in a row that a model is to blame for pause it; its jobs wait, and a person lets it
go on."""

import pytest
from log_lines import log_lines
from ward import POSITIVE, Visitor
from world import World

from dicom_node.domain.errors import OutOfSpace, UnusableOutput
from dicom_node.domain.job import MAX_ATTEMPTS, POISON
from dicom_node.ledger.breaker import MOST_STRIKES

BAD, GOOD = "bad", "good"


def study(ward, model):
    (job_id,) = ward.close(ward.receive("A^B"), model)
    return job_id


def poison(ward, model, times):
    """So many studies whose every try crashed."""
    jobs = [study(ward, model) for _ in range(times)]
    for job_id in jobs:
        ward.crash(job_id, MAX_ATTEMPTS)
    return jobs


def hold_back(ward, model, reason, times=MOST_STRIKES):
    """So many studies that are quarantined at the first try."""
    for _ in range(times):
        ward.ledger.jobs.quarantine(ward.claim(study(ward, model)), reason)


def paused(ward):
    return [model.name for model in ward.ledger.breaker.paused()]


def test_the_fifth_pauses_the_model_and_no_other(ward):
    poison(ward, BAD, MOST_STRIKES - 1)
    assert paused(ward) == []
    poison(ward, BAD, 1)
    waiting, other = study(ward, BAD), study(ward, GOOD)
    assert paused(ward) == [BAD]
    assert ward.ledger.jobs.waiting() == [other]
    assert ward.ledger.jobs.claim(waiting) is None
    assert ward.ledger.jobs.claim(other)


def test_a_success_in_between_begins_the_count_anew(ward):
    poison(ward, BAD, MOST_STRIKES - 1)
    ward.complete(study(ward, BAD), POSITIVE)
    poison(ward, BAD, MOST_STRIKES - 1)
    assert paused(ward) == []


def test_bad_studies_of_a_scanner_pause_no_model(ward):
    for reason in ("GEOMETRY", "DECODER", "VALUE", "INCOMPLETE"):
        hold_back(ward, GOOD, reason)
    assert paused(ward) == []


def test_answers_that_mean_nothing_pause_their_model(ward):
    hold_back(ward, BAD, UnusableOutput.code)
    assert paused(ward) == [BAD]


@pytest.mark.parametrize("reason", sorted(POISON))
def test_every_bad_end_of_a_try_is_held_against_the_model(ward, reason):
    for _ in range(MOST_STRIKES):
        ward.crash(study(ward, BAD), MAX_ATTEMPTS, reason)
    assert paused(ward) == [BAD]


def test_a_full_disk_is_not(ward):
    for _ in range(MOST_STRIKES):
        ward.crash(study(ward, GOOD), MAX_ATTEMPTS, OutOfSpace.code)
    assert paused(ward) == []


def test_a_bad_study_in_between_hides_no_crashing_model(ward):
    poison(ward, BAD, MOST_STRIKES - 1)
    hold_back(ward, BAD, "GEOMETRY", times=1)
    poison(ward, BAD, 1)
    assert paused(ward) == [BAD]


def test_one_study_counts_once(ward):
    (job_id,) = poison(ward, BAD, 1)
    for _ in range(MOST_STRIKES):
        assert ward.ledger.jobs.retry(job_id)
        ward.crash(job_id, 1)
    assert paused(ward) == []


def test_a_person_s_retry_lets_the_model_go_on(ward):
    jobs = poison(ward, BAD, MOST_STRIKES)
    waiting = study(ward, BAD)
    assert ward.ledger.jobs.retry(jobs[0])
    assert paused(ward) == []
    assert set(ward.ledger.jobs.waiting()) == {jobs[0], waiting}


def test_the_page_and_the_metrics_say_so(ward):
    poison(ward, "<b>bad", MOST_STRIKES)
    visitor = Visitor(ward)
    page = visitor.get().text
    assert "MODEL_PAUSED" in page
    assert "&lt;b&gt;bad@1.0.0" in page
    assert 'dicom_node_model_paused{model="<b>bad@1.0.0"} 1.0' in visitor.get("/metrics").text


def test_the_sweep_says_it_once(ward, tmp_path):
    poison(ward, BAD, MOST_STRIKES)
    world = World(tmp_path)
    with log_lines() as lines:
        world.pass_time(60)
    world.close()
    (line,) = [line for line in lines if line["event"] == "model.paused"]
    assert (line["model"], line["reason"]) == (f"{BAD}@1.0.0", "MODEL_PAUSED")

"""The page of a study says how far a heat map can be believed, and why."""

import pytest

from dicom_node.domain.job import JobState
from dicom_node.web.answers import Tone, answers

WHY = ["Evidence lies outside of the patient: in air, padding or writing."]


def told(**finding):
    return answered(finding).findings[0].trust


def answered(finding=(), **summary):
    finding = {"label": "Lesion", "presence": "PRESENT", "probability": 0.9, **dict(finding)}
    job = {
        "id": "1",
        "study_instance_uid": "2.25.1",
        "generation": 1,
        "model_name": "phantom-lesion",
        "model_version": "1.0.0",
        "state": JobState.ANALYSED,
        "rejected": False,
        "reason": "",
        "attempt": 1,
        "summary": {"line": "Lesion present", "findings": [finding], **summary},
    }
    (answer,) = answers([job])
    return answer


def test_a_map_that_failed_is_marked_with_its_reasons():
    trust = told(trust="NOT_RELIABLE", reasons=WHY)
    assert (trust.tone, trust.line) == (Tone.FAILED, WHY[0])


@pytest.mark.parametrize("reasons", [None, "text", []])
def test_a_summary_without_reasons_is_shown_without(reasons):
    assert told(trust="RELIABLE", reasons=reasons).line == ""


def test_what_a_reader_must_know_before_the_answer_goes_along():
    assert answered(warning="Do not rely on it.").warning == "Do not rely on it."
    assert answered().warning == ""

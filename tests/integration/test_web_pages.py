"""The pages show each state with its reason, and change only what a person of this site asks."""

import re
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from ward import MODEL, NEGATIVE, POSITIVE, REPORT, Visitor, Ward, every_state

from dicom_node.domain.delivery import DeliveryState
from dicom_node.domain.job import JobState
from dicom_node.domain.review import Review, Verdict
from dicom_node.settings.web import Web
from dicom_node.web.text import LONGEST

SAID_OF_STATE = {
    "sent": ["Positive", "Lesion present, probability 93%", "take with caution", "4 of 4"],
    "negative": ["Negative", "Lesion absent, highest probability 4%", "Analysed", "4 of 4"],
    "held": ["Positive", "2 of 4", "2 held:", "The destination"],
    "postponed": ["Negative", "0 of 4", "Postponed", "cannot be reached"],
    "failed": ["Failed", "No result: the model cannot be used", "does not have the very model"],
    "unusable images": ["Failed", "No result: given up.", "no regular volume", "axial series"],
    "quarantined job": ["Failed", "given up after 3 tries", "stopped without a word"],
    "quarantined study": ["No result", "Held back", "more than one patient", "Correct the patient"],
    "no model": ["No result", "not a negative result", "No model reads this kind of study"],
    "late image": ["Receiving", "Positive", "before the latest images"],
    "two models": ["No result yet", "Waits for try 2 of 3", "Negative", "did not fit"],
    "analysing": ["No result yet", "Being analysed, try 1 of 3", "Analysing"],
    "waiting": ["No result yet", "Waits for a worker", "Waiting"],
    "receiving": ["No result yet", "Images still arrive", "Receiving", "after 60 s"],
}


@pytest.fixture
def visitor(ward: Ward) -> Visitor:
    return Visitor(ward)


def plain(html: str) -> str:
    """What a reader reads."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def finished(ward: Ward, name: str = "Doe^Jane") -> tuple[str, str]:
    """A study whose result waits to be sent, and its job."""
    uid = ward.receive(name)
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, POSITIVE)
    return uid, job_id


def row_of(html: str, uid: str) -> str:
    row = re.search(rf'<tr id="study-{uid.replace(".", "-")}".*?</tr>', html, re.DOTALL)
    assert row, uid
    return plain(row[0])


def test_the_worklist_tells_every_state_apart_and_says_why(ward: Ward, visitor: Visitor) -> None:
    studies = every_state(ward)
    html = visitor.get().text
    assert set(studies) == set(SAID_OF_STATE)
    for state, words in SAID_OF_STATE.items():
        row = row_of(html, studies[state])
        assert [word for word in words if word not in row] == [], (state, row)


def test_no_result_is_never_shown_as_a_negative_one(ward: Ward, visitor: Visitor) -> None:
    studies = every_state(ward)
    html = visitor.get().text
    for state in set(studies) - {"negative", "postponed", "two models"}:
        row = row_of(html, studies[state])
        assert "Negative" not in row, state
        assert ("No result" in row) == (state not in ("sent", "held", "late image")), state


@pytest.mark.parametrize("state", SAID_OF_STATE)
def test_the_study_page_says_the_same(ward: Ward, visitor: Visitor, state: str) -> None:
    uid = every_state(ward)[state]
    page = plain(visitor.get(f"/studies/{uid}").text)
    missing = [word for word in SAID_OF_STATE[state] if word not in page]
    assert set(missing) <= {"Images still arrive", "Receiving"}
    assert "First image received" in page
    assert uid in page


def test_the_study_page_says_why_a_model_did_not_read_a_series(
    ward: Ward, visitor: Visitor
) -> None:
    uid = ward.receive("Doe^Jane")
    ward.close(uid, reason="modality US, not CT")
    page = plain(visitor.get(f"/studies/{uid}").text)
    assert f"Not read {MODEL}@1.0.0: modality US, not CT" in page


def test_the_objects_are_listed_with_where_they_went(ward: Ward, visitor: Visitor) -> None:
    uid = every_state(ward)["held"]
    page = plain(visitor.get(f"/studies/{uid}").text)
    assert "Segmentation AI segmentation Segmentation Storage 39 KiB pacs Held" in page
    assert "NO_CONTEXT" in page
    assert "(status 0xA900)" in page
    assert "Structured report AI findings Comprehensive 3D SR Storage 156 KiB pacs Sent" in page


def test_an_object_for_a_destination_that_is_gone_says_so(ward: Ward, visitor: Visitor) -> None:
    uid = ward.receive("Doe^Jane")
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, POSITIVE, destinations=["old-pacs"])
    assert "The settings name no such destination" in visitor.get().text
    page = visitor.get(f"/studies/{uid}").text
    assert "The settings name no such destination" in page
    assert "Send again" not in page


def test_events_in_a_row_become_one_line(ward: Ward, visitor: Visitor) -> None:
    uid = every_state(ward)["sent"]
    page = plain(visitor.get(f"/studies/{uid}").text)
    assert "Object sent × 4" in page
    assert "Analysis finished" in page


def test_a_result_before_later_images_is_marked_on_every_page(ward: Ward, visitor: Visitor) -> None:
    uid, job_id = finished(ward)
    ward.add_images(uid, 1, first=90)
    assert "made before the latest images" in visitor.get(f"/studies/{uid}").text
    assert "made before the latest images" in visitor.get(f"/jobs/{job_id}").text
    (second,) = ward.close(uid, MODEL)
    ward.complete(second, NEGATIVE)
    page = visitor.get(f"/studies/{uid}").text
    assert page.index("Negative") < page.index("Positive")
    assert "superseded by a later analysis" in page
    assert "superseded by a later analysis" in visitor.get(f"/jobs/{job_id}").text


HOSTILE = {
    "<script>alert(1)</script>^<img src=x onerror=alert(2)>": "&lt;script&gt;",
    "{{7*7}}^{% raw %}": "{{7*7}}",
    '"><svg onload=alert(1)>': "&#34;&gt;&lt;svg",
    "Doe\r\nSet-Cookie: a=b": "Doe\ufffd",
    "Doe\x1b[31m\x00": "Doe\ufffd[31m\ufffd",
    "Doe\u202egnp.exe\u2066": "Doe\ufffdgnp.exe\ufffd",
    "\ud800lone surrogate": "\ufffdlone surrogate",
    "N" * 2_000_000: "N" * 90,
}


@pytest.mark.parametrize(("value", "shown"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_hostile_header_values_are_shown_as_harmless_text(
    ward: Ward, visitor: Visitor, value: str, shown: str
) -> None:
    uid = ward.receive(value, StudyDescription=value, PatientID=value, PatientSex=value)
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, {"line": value, "findings": [{"label": value, "presence": value}]})
    for path in ("/", f"/studies/{uid}", f"/jobs/{job_id}"):
        html = visitor.get(path).text
        assert shown in html, path
        assert not re.search("<script>a|<img src=x|<svg|\x1b|\x00|\u202e|>49", html), path
        assert len(html) < 40_000, path


def test_a_summary_of_another_shape_breaks_no_page(ward: Ward, visitor: Visitor) -> None:
    for number, summary in enumerate(
        (
            {},
            {"findings": None},
            {"findings": [1, {"probability": "x", "presence": [], "trust": {}}]},
            {"line": 7},
        )
    ):
        uid = ward.receive(f"Odd^{number}")
        (job_id,) = ward.close(uid, MODEL)
        ward.complete(job_id, summary)
        assert "Undetermined" in visitor.get(f"/studies/{uid}").text
    assert visitor.get().status_code == 200


def test_a_warning_stands_beside_a_negative_answer_on_every_page(
    ward: Ward, visitor: Visitor
) -> None:
    uid = ward.receive("Strange^Images")
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, {**NEGATIVE, "warning": "Do not rely on <this>."})
    for path in ("/", f"/studies/{uid}", f"/jobs/{job_id}"):
        text = visitor.get(path).text
        assert "Negative" in text
        assert "Do not rely on &lt;this&gt;." in text, path


def test_the_search_finds_by_words_and_never_puts_them_in_an_address(
    ward: Ward, visitor: Visitor
) -> None:
    every_state(ward)
    ward.receive("Müller^Jörg", PatientID="X-77")
    for search in ("petra positive", "P-0001", "a-0001", "1.2.3.1 petra"):
        answer = visitor.post(q=search)
        assert "Positive, Petra" in answer.text, search
        assert search not in answer.headers["HX-Replace-Url"]
    assert "No study matches" in visitor.post(q="petra nora").text
    assert "No study matches" in visitor.post(q="%").text
    assert visitor.get("/?q=petra").text.count("<tr id=") == len(SAID_OF_STATE) + 1


def test_the_worklist_is_filtered_by_state(ward: Ward, visitor: Visitor) -> None:
    studies = every_state(ward)
    expected = {
        "attention": {"failed", "unusable images", "quarantined job", "quarantined study", "held"},
        "progress": {"receiving", "waiting", "analysing", "two models", "late image", "postponed"},
        "no-result": {"no model"},
        "result": {"sent", "negative"},
    }
    for stage, states in expected.items():
        html = visitor.get(f"/?state={stage}").text
        assert {s for s, uid in studies.items() if f'href="/studies/{uid}"' in html} == states
        assert re.search(rf'value="{stage}"\s+checked><span>[\w ]+<b>{len(states)}</b>', html)


def test_what_is_held_of_a_superseded_job_calls_nobody(ward: Ward, visitor: Visitor) -> None:
    uid, job_id = finished(ward)
    ward.send(job_id, "pacs", "!STATUS_A900", "", "", "")
    assert "1 held" in row_of(visitor.get("/?state=attention").text, uid)
    ward.add_images(uid, 1, first=90)
    (later,) = ward.close(uid, MODEL)
    ward.complete(later, NEGATIVE)
    ward.send(later, "pacs", "", "", "", "")
    for html in (visitor.get("/?state=result").text, visitor.get(f"/studies/{uid}").text):
        assert "7 of 7" in plain(html)
        assert "1 held" not in html


def test_the_worklist_says_first_what_waits_for_a_destination_that_is_away(
    ward: Ward, visitor: Visitor
) -> None:
    every_state(ward)
    (job_id,) = ward.close(ward.receive("Forgotten^Fritz"), MODEL)
    ward.complete(job_id, NEGATIVE, ["old"])
    text = visitor.get("/?state=attention").text
    told = re.findall(r"<b>Not sent:</b>(.*?)</p>", text, re.DOTALL)
    assert [" ".join(each.split("<")[0].split()) for each in told] == [
        "results of 1 study to old. The settings name no such destination any more. "
        "Add it again under [[destinations]].",
        "results of 1 study to pacs. The destination cannot be reached, or rejects our AE title. "
        "Check that it runs and knows this node. Sending goes on by itself.",
    ]


def test_the_time_line_has_late_images_where_they_came_and_says_its_zone(
    ward: Ward, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = every_state(ward)["late image"]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        text = visitor.get(f"/studies/{uid}").text
    finally:
        monkeypatch.undo()
        time.tzset()
    _, _, line = text.partition("<h2>Time line")
    assert "JST" in line.partition("</h2>")[0]
    told = re.findall(r"<b>([^<]+)</b>", line)
    assert (told[0], told[-1]) == ("Last image received", "First image received")


def test_a_study_that_is_held_back_is_not_said_to_have_been_shown_to_models(
    ward: Ward, visitor: Visitor
) -> None:
    uid = every_state(ward)["quarantined study"]
    text = visitor.get(f"/studies/{uid}").text
    assert "Study held back" in text
    assert "models asked" not in text
    assert "No model reads" not in text


def test_the_worklist_goes_in_pages(ward: Ward, visitor: Visitor) -> None:
    for number in range(60):
        ward.receive(f"Doe^{number}", images=1)
    first, second = visitor.get(), visitor.post(page="2")
    assert first.text.count("<tr id=") == 50
    assert second.text.count("<tr id=") == 10
    assert "Page 2 of 2" in second.text
    assert visitor.get("/?page=999").text.count("<tr id=") == 10


def test_an_empty_worklist_says_how_to_fill_it(visitor: Visitor) -> None:
    assert "No study has arrived yet" in visitor.get().text
    assert "No study is listed under “Needs attention”" in visitor.get("/?state=attention").text
    assert "No study matches under “Result”" in visitor.post(q="x", state="result").text


def test_a_failed_job_is_ordered_again(ward: Ward, visitor: Visitor) -> None:
    uid = every_state(ward)["failed"]
    page = ward.ledger.pages.study(uid)
    assert page
    job_id = page.jobs[0]["id"]
    assert f'action="/jobs/{job_id}/retry"' in visitor.get(f"/studies/{uid}").text
    answer = visitor.post(f"/jobs/{job_id}/retry")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/studies/{uid}#job-{job_id}"
    assert ward.ledger.jobs.get(job_id).state == JobState.READY
    assert visitor.post(f"/jobs/{job_id}/retry").status_code == 409


def states_of(ward: Ward, uid: str) -> list[tuple[str, bool]]:
    """State of each delivery in the order of sending, and whether it waits in a pause."""
    page = ward.ledger.pages.study(uid)
    assert page
    by_object = {d["sop_instance_uid"]: d for d in page.deliveries}
    found = [by_object[r["sop_instance_uid"]] for r in page.results]
    return [(d["state"], d["next_at"] > 0 and d["state"] == "READY") for d in found]


def test_a_held_object_is_sent_again(ward: Ward, visitor: Visitor) -> None:
    uid = every_state(ward)["held"]
    buttons = re.findall(r'action="(/deliveries/[^"]+/retry)"', visitor.get(f"/studies/{uid}").text)
    assert len(buttons) == 2
    assert visitor.post(buttons[0]).status_code == 303
    assert [state for state, _ in states_of(ward, uid)] == ["READY", "SENT", "HELD", "SENT"]
    assert visitor.post(f"/deliveries/{uuid4()}/retry").status_code == 404


def test_all_postponed_objects_are_sent_again(ward: Ward, visitor: Visitor) -> None:
    uid = every_state(ward)["postponed"]
    assert states_of(ward, uid) == [(DeliveryState.READY, True)] * 4
    action = re.search(r'"(/jobs/[^"]+/deliveries/retry)"', visitor.get(f"/studies/{uid}").text)
    assert action
    assert visitor.post(action[1]).status_code == 303
    assert states_of(ward, uid) == [(DeliveryState.READY, False)] * 4


def test_a_sent_object_is_not_sent_again(ward: Ward, visitor: Visitor) -> None:
    page = ward.ledger.pages.study(every_state(ward)["sent"])
    assert page
    assert visitor.post(f"/deliveries/{page.deliveries[0]['id']}/retry").status_code == 409


@pytest.mark.parametrize("back", ["study", "job"])
def test_a_review_is_kept_beside_the_earlier_ones(ward: Ward, visitor: Visitor, back: str) -> None:
    uid, job_id = finished(ward)
    ward.ledger.pages.review(Review(job_id, "Dr. Old", Verdict.AGREE, "", datetime.now(UTC)))
    answer = visitor.post(
        f"/jobs/{job_id}/review",
        reader="  Dr. <b>Weber</b>\u202e ",
        verdict="DISAGREE",
        comment="A cyst.\r\nNot\x1b a lesion.",
        back=back,
    )
    assert answer.status_code == 303
    kept = ward.ledger.pages.study(uid)
    assert kept
    assert kept.reviews[1]["reader"] == "Dr. <b>Weber</b>\ufffd"
    assert kept.reviews[1]["comment"] == "A cyst.\nNot\ufffd a lesion."
    html = visitor.get(answer.headers["location"]).text
    assert "Dr. &lt;b&gt;Weber&lt;/b&gt;\ufffd" in html
    assert "Disagrees" in html
    assert "Dr. Old" in html
    assert "A cyst." in html


@pytest.mark.parametrize(
    "fields",
    [
        {"reader": "", "verdict": "AGREE"},
        {"reader": " \t ", "verdict": "AGREE"},
        {"reader": "W" * 65, "verdict": "AGREE"},
        {"reader": "Weber", "verdict": "PERHAPS"},
        {"reader": "Weber"},
        {"reader": "Weber", "verdict": "AGREE", "comment": "c" * (LONGEST + 1)},
        {"reader": "Weber", "verdict": "AGREE", "back": "//evil.example"},
    ],
    ids=range(7),
)
def test_an_unfit_review_is_refused_without_repeating_it(
    ward: Ward, visitor: Visitor, fields: dict[str, str]
) -> None:
    uid, job_id = finished(ward)
    answer = visitor.post(f"/jobs/{job_id}/review", **fields)
    assert answer.status_code == 422
    assert "Weber" not in answer.text
    page = ward.ledger.pages.study(uid)
    assert page
    assert page.reviews == ()


def test_a_job_without_result_takes_no_review(ward: Ward, visitor: Visitor) -> None:
    page = ward.ledger.pages.study(every_state(ward)["failed"])
    assert page
    path = f"/jobs/{page.jobs[0]['id']}/review"
    assert visitor.post(path, reader="Weber", verdict="AGREE").status_code == 409


def disagree(visitor: Visitor, job_id: str, reader: str = "Weber") -> None:
    visitor.post(f"/jobs/{job_id}/review", reader=reader, verdict="DISAGREE", comment="A cyst.")


def test_a_reader_who_disagrees_may_reject_and_every_page_says_so(
    ward: Ward, visitor: Visitor
) -> None:
    uid, job_id = finished(ward)
    ward.send(job_id, "pacs", "", "", "!NO_CONTEXT", "PEER_UNREACHABLE")
    path = f"/jobs/{job_id}/reject"
    assert path not in visitor.get(f"/jobs/{job_id}").text
    disagree(visitor, job_id)
    assert path in visitor.get(f"/studies/{uid}").text
    assert visitor.post(path, reader="Weber", sure="yes").status_code == 303
    assert ward.ledger.rejections.waiting() == [job_id]
    assert [s for s, _ in states_of(ward, uid)] == ["SENT", "SENT", "WITHDRAWN", "WITHDRAWN"]
    page = plain(visitor.get(f"/studies/{uid}").text)
    assert "Rejected" in page
    assert "Weber" in page
    assert "2 of 2" in page
    row = row_of(visitor.get().text, uid)
    assert "do not use it" in row
    assert "Positive" not in row
    assert visitor.post(path, reader="Weber", sure="yes").status_code == 409


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"reader": "Weber"}, 422),
        ({"reader": "Weber", "sure": "no"}, 422),
        ({"reader": "Other", "sure": "yes"}, 409),
        ({"sure": "yes"}, 422),
    ],
)
def test_a_rejection_is_a_deliberate_act_of_who_disagreed(
    ward: Ward, visitor: Visitor, fields: dict[str, str], status: int
) -> None:
    uid, job_id = finished(ward)
    disagree(visitor, job_id)
    assert visitor.post(f"/jobs/{job_id}/reject", **fields).status_code == status
    assert "WITHDRAWN" not in [s for s, _ in states_of(ward, uid)]


def test_agreement_rejects_nothing_and_a_review_alone_neither(ward: Ward, visitor: Visitor) -> None:
    _, job_id = finished(ward)
    visitor.post(f"/jobs/{job_id}/review", reader="Weber", verdict="AGREE")
    assert visitor.post(f"/jobs/{job_id}/reject", reader="Weber", sure="yes").status_code == 409
    answer = visitor.post(f"/jobs/{job_id}/review", reader="Weber", verdict="REJECT")
    assert answer.status_code == 422


def test_only_who_knows_the_rejection_password_rejects(ward: Ward) -> None:
    visitor = Visitor(ward, Web(rejection_password="only-chiefs"))
    _, job_id = finished(ward)
    disagree(visitor, job_id)
    assert 'name="password"' in visitor.get(f"/jobs/{job_id}").text
    path, fields = f"/jobs/{job_id}/reject", {"reader": "Weber", "sure": "yes"}
    assert visitor.post(path, **fields).status_code == 403
    assert visitor.post(path, **fields, password="wrong").status_code == 403
    assert visitor.post(path, **fields, password="only-chiefs").status_code == 303


def test_a_job_that_no_model_had_says_why_like_any_other(ward: Ward, visitor: Visitor) -> None:
    uid = ward.receive("Declined^Dan", ModalitiesInStudy=["US"])
    ward.close(uid, reason="modality US, not CT", decline=True)
    for html in (visitor.get().text, visitor.get(f"/studies/{uid}").text):
        page = plain(html)
        assert "Not analysed. This is not a negative result." in page
        assert "No model reads this kind of study" in page
    ward.add_images(uid, 1, first=90)
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, NEGATIVE)
    row = row_of(visitor.get().text, uid)
    assert "Negative" in row
    assert "Not analysed" not in row


def test_the_report_is_served_as_stored_and_locked_in(ward: Ward, visitor: Visitor) -> None:
    _, job_id = finished(ward)
    answer = visitor.get(f"/jobs/{job_id}/report")
    assert answer.content == REPORT
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert "script-src" not in policy
    assert answer.headers["Content-Disposition"].startswith("inline")
    saved = visitor.get(f"/jobs/{job_id}/report/download").headers["Content-Disposition"]
    assert saved == f'attachment; filename="report-{job_id}.html"'
    frame = visitor.get(f"/jobs/{job_id}").text
    assert f'src="/jobs/{job_id}/report"' in frame
    assert "sandbox></iframe>" in frame


def test_a_report_that_is_not_there_is_explained(ward: Ward, visitor: Visitor) -> None:
    page = ward.ledger.pages.study(every_state(ward)["failed"])
    assert page
    job_id = page.jobs[0]["id"]
    assert visitor.get(f"/jobs/{job_id}/report").status_code == 404
    assert "There is no report" in visitor.get(f"/jobs/{job_id}").text
    _, other = finished(ward)
    row = ward.ledger.pages.job(other)
    assert row
    ward.store.path(row["report_sha256"]).unlink()
    assert "has no report" in visitor.get(f"/jobs/{other}/report").text


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/studies/1.2.3.999",
        "/studies/..%2f..%2fetc",
        "/studies/1.2'%20OR%201=1",
        f"/studies/{'1' * 65}",
        "/jobs/not-a-uuid",
        "/jobs/00000000-0000-0000-0000-000000000000",
        "/jobs/00000000-0000-0000-0000-000000000000/report",
        "/static/../app.py",
    ],
)
def test_what_is_not_there_is_404_and_says_what_to_do(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 404
    assert "orklist" in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_failure_of_the_node_tells_nothing_and_keeps_its_headers(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr("dicom_node.ledger.pages.read_worklist", fail)
    answer = Visitor(ward, crash=False).get()
    assert answer.status_code == 500
    assert "Doe" not in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]

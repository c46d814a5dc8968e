"""Nobody guesses the password, and nobody is locked out for good by somebody who tries."""

import base64

import pytest
from httpx import Response
from log_lines import log_lines
from pydantic import SecretStr
from ward import POSITIVE, Visitor, Ward

from dicom_node.settings.web import Web
from dicom_node.web import brake
from dicom_node.web.brake import MOST_GUESSES, PERIOD_S, Brake

GUESSES = range(MOST_GUESSES)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(brake, "monotonic", clock)
    return clock


@pytest.fixture
def visitor(clock: Clock, ward: Ward) -> Visitor:
    return Visitor(ward, Web(password=SecretStr("s3crét")))


def say(visitor: Visitor, password: str) -> Response:
    encoded = base64.b64encode(f"x:{password}".encode()).decode()
    return visitor.get(Authorization=f"Basic {encoded}")


def right(visitor: Visitor) -> Response:
    return say(visitor, "s3crét")


def guess(visitor: Visitor) -> list[int]:
    return [say(visitor, f"guess {number}").status_code for number in GUESSES]


def test_after_some_guesses_no_password_is_heard_for_a_while(
    visitor: Visitor, clock: Clock
) -> None:
    assert set(guess(visitor)) == {401}
    clock.now += 10
    with log_lines() as lines:
        answer = right(visitor)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(round(PERIOD_S) - 10))
    (line,) = lines
    assert (line["event"], line["reason"], line["peer"]) == (
        "web.reject",
        "PASSWORD_LIMIT",
        "testclient",
    )
    assert "s3cr" not in str(lines) + answer.text
    assert visitor.get("/healthz").status_code == 200
    assert visitor.get().status_code == 401, "a browser asks for the password at that"
    clock.now += PERIOD_S - 10
    assert right(visitor).status_code == 200


def test_a_browser_that_was_let_in_stays_in_beside_one_who_guesses(visitor: Visitor) -> None:
    for _ in range(2):  # the first answer brings the cookie
        assert right(visitor).status_code == 200
    cookies = dict(visitor.client.cookies)
    visitor.client.cookies.clear()
    guess(visitor)
    assert right(visitor).status_code == 429
    visitor.client.cookies.update(cookies)
    assert right(visitor).status_code == 200


def test_a_page_that_refreshes_with_an_old_password_locks_nobody_out(visitor: Visitor) -> None:
    for _ in range(3 * MOST_GUESSES):
        assert say(visitor, "last year's").status_code == 401
    assert right(visitor).status_code == 200


def test_each_address_has_a_brake_of_its_own(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "MOST_ADDRESSES", 2)
    one = Brake()
    for number in GUESSES:
        one.wrong("2001:db8::1", f"{number}".encode())
        one.wrong("10.0.0.1", f"{number}".encode())
    assert one.wait_s("2001:db8::2") == one.wait_s("10.0.0.1") == PERIOD_S
    assert one.wait_s("2001:db8:0:1::1") == one.wait_s("10.0.0.2") == 0
    one.wrong("10.0.0.3", b"")
    assert one.wait_s("2001:db8::1") == 0, "what is remembered has an end"


def test_the_rejection_password_is_not_guessed_either(clock: Clock, ward: Ward) -> None:
    visitor = Visitor(ward, Web(rejection_password=SecretStr("only-chiefs")))
    uid = ward.receive("Doe^Jane")
    (job_id,) = ward.close(uid, "phantom-lesion")
    ward.complete(job_id, POSITIVE)
    visitor.post(f"/jobs/{job_id}/review", reader="Weber", verdict="DISAGREE")
    path, fields = f"/jobs/{job_id}/reject", {"reader": "Weber", "sure": "yes"}
    with log_lines() as lines:
        for number in GUESSES:
            assert visitor.post(path, **fields, password=f"no {number}").status_code == 403
        answer = visitor.post(path, **fields, password="only-chiefs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "wrong passwords" in answer.text
    assert [line["reason"] for line in lines] == ["PASSWORD"] * MOST_GUESSES + ["PASSWORD_LIMIT"]
    clock.now += PERIOD_S
    assert visitor.post(path, **fields, password="only-chiefs").status_code == 303

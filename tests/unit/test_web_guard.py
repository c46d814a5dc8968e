"""Another site learns nothing and changes nothing, and nobody enters without the password."""

import base64

import pytest
from log_lines import log_lines
from pydantic import SecretStr
from ward import Visitor, Ward, every_state

from dicom_node.settings.web import Web
from dicom_node.web.guard import MAX_BODY_BYTES
from dicom_node.web.site import TOKEN

HOME = {"Origin": "http://localhost"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def visitor(ward: Ward) -> Visitor:
    return Visitor(ward)


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:8080"])
def test_a_node_on_loopback_answers_to_its_own_names(visitor: Visitor, host: str) -> None:
    assert visitor.get(Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "", "["],
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/static/style.css"])
def test_a_foreign_name_for_this_address_is_refused(visitor: Visitor, host: str, path: str) -> None:
    assert visitor.get(path, Host=host).status_code == 400


def test_behind_a_password_any_name_will_do(ward: Ward) -> None:
    web = Web(host="0.0.0.0", password=SecretStr("s3cret"))
    visitor = Visitor(ward, web)
    assert visitor.get("/healthz", Host="node.hospital.example").status_code == 200


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        basic("reader", "wrong"),
        basic("reader", ""),
        basic("s3crét:pass", ""),
        "Basic not base64!",
        "Basic \u00e9",
        "Basic",
        "Bearer s3crét:pass",
    ],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/readyz", "/static/style.css", "/studies/1.2"])
def test_without_the_password_nothing_is_shown(ward: Ward, authorization: str, path: str) -> None:
    visitor = Visitor(ward, Web(password=SecretStr("s3crét:pass")))
    answer = visitor.client.get(path, headers={"Authorization": authorization.encode()})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_with_the_password_any_user_enters_and_health_needs_none(ward: Ward) -> None:
    visitor = Visitor(ward, Web(password=SecretStr("s3crét:pass")))
    assert visitor.get(Authorization=basic("anyone", "s3crét:pass")).status_code == 200
    assert visitor.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost:9999"},
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", **HOME},
        {"Sec-Fetch-Site": "none", **HOME},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused_even_with_the_token(
    ward: Ward, visitor: Visitor, headers: dict[str, str]
) -> None:
    job_id = failed_job(ward)
    visitor.get()
    form = {"token": visitor.client.cookies[TOKEN]}
    for path in ("/", f"/jobs/{job_id}/retry", f"/jobs/{job_id}/review"):
        assert visitor.client.post(path, data=form, headers=headers).status_code == 403
    assert ward.ledger.jobs.get(job_id).state == "FAILED"


@pytest.mark.parametrize("token", ["", "x" * 43, "é" * 43])
def test_a_form_without_the_token_of_the_cookie_is_refused(
    ward: Ward, visitor: Visitor, token: str
) -> None:
    job_id = failed_job(ward)
    path = f"/jobs/{job_id}/retry"
    assert visitor.client.post(path, data={"token": token}, headers=HOME).status_code == 403
    visitor.get()
    assert visitor.client.post(path, data={"token": token}, headers=HOME).status_code == 403
    with log_lines() as lines:
        assert visitor.client.post(path, headers={**HOME, **FORM}).status_code == 403
    assert [line["reason"] for line in lines] == ["CSRF"]
    assert ward.ledger.jobs.get(job_id).state == "FAILED"


def test_over_https_the_browser_vouches_for_the_form(ward: Ward, visitor: Visitor) -> None:
    """Behind a TLS proxy the Host header may be the proxy's idea of this node."""
    job_id = failed_job(ward)
    visitor.get()
    answer = visitor.client.post(
        f"/jobs/{job_id}/retry",
        data={"token": visitor.client.cookies[TOKEN]},
        headers={"Sec-Fetch-Site": "same-origin", "Origin": "https://node.hospital.example"},
    )
    assert answer.status_code == 303


def test_the_token_stays_with_this_site(visitor: Visitor) -> None:
    cookie = visitor.get().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "set-cookie" not in visitor.get().headers


def failed_job(ward: Ward) -> str:
    page = ward.ledger.pages.study(every_state(ward)["failed"])
    assert page
    return str(page.jobs[0]["id"])


def test_a_body_beyond_any_form_is_refused(visitor: Visitor) -> None:
    body = b"q=" + b"x" * MAX_BODY_BYTES
    assert visitor.client.post("/", content=body, headers={**HOME, **FORM}).status_code == 413
    announced = {**HOME, **FORM, "Content-Length": "4294967296"}
    assert visitor.client.post("/", content=b"q=1", headers=announced).status_code == 413


def test_a_chunked_body_is_counted_while_it_arrives(visitor: Visitor) -> None:
    chunks = iter([b"q="] + [b"x" * 10_000] * 10)
    assert visitor.client.post("/", content=chunks, headers={**HOME, **FORM}).status_code == 413


def test_a_compressed_or_other_body_is_refused(visitor: Visitor) -> None:
    packed = {**HOME, **FORM, "Content-Encoding": "gzip"}
    assert visitor.client.post("/", content=b"\x1f\x8b", headers=packed).status_code == 415
    other = {**HOME, "Content-Type": "multipart/form-data; boundary=x"}
    assert visitor.client.post("/", content=b"--x--", headers=other).status_code == 415


def test_a_field_too_long_is_refused(visitor: Visitor) -> None:
    assert visitor.post(q="x" * 129).status_code == 422


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/nothing", "/static/style.css"])
def test_every_answer_is_locked_in(visitor: Visitor, path: str) -> None:
    headers = visitor.get(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    kept = "no-cache" if path.startswith("/static") else "no-store"
    assert headers["Cache-Control"] == kept


def test_refusals_are_locked_in_too(visitor: Visitor) -> None:
    assert "Content-Security-Policy" in visitor.get(Host="evil.example").headers
    assert "Content-Security-Policy" in visitor.client.post("/").headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/static/style.css"])
def test_what_can_be_got_can_be_asked_about(visitor: Visitor, path: str) -> None:
    got, asked = visitor.get(path), visitor.client.head(path)
    assert asked.status_code == got.status_code == 200
    assert asked.headers["Content-Type"] == got.headers["Content-Type"]


def test_what_cannot_be_got_says_how_else(visitor: Visitor) -> None:
    answer = visitor.get("/studies")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.headers["Cache-Control"] == "no-store"

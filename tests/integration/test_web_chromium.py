"""The pages work in a real browser: nothing is blocked by the policy, and they refresh."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from browser import Browser
from fastapi import FastAPI
from starlette.responses import HTMLResponse
from ward import MODEL, NEGATIVE, POSITIVE, Ward, every_state

from dicom_node.domain.review import Review, Verdict
from dicom_node.settings.node import Settings
from dicom_node.web.app import create_app

pytestmark = [pytest.mark.chromium, pytest.mark.slow]


class Served:
    """The pages over a ledger with a study in each state, on a free port."""

    def __init__(self, folder: Path) -> None:
        self.ward = Ward.open(folder)
        self.studies = every_state(self.ward)
        self.app = create_app(Settings(), self.ward.ledger, self.ward.store)
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        config = uvicorn.Config(self.app, port=self.port, log_config=None)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def job(self, state: str) -> str:
        page = self.ward.ledger.pages.study(self.studies[state])
        assert page
        return str(page.jobs[0]["id"])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.start()
    yield served
    served.stop()
    served.ward.ledger.close()


@pytest.fixture(scope="module")
def chromium(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    browser = Browser(tool("chromium"), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.complaints_so_far()
    return chromium


def long_words(ward: Ward) -> list[str]:
    """The pages of a study with texts that have no blank to break at."""
    uid = ward.receive("N" * 64 + "^" + "M" * 60, PatientID="I" * 64, StudyDescription="D" * 64)
    (job_id,) = ward.close(uid, MODEL)
    finding = {"label": "F" * 64, "presence": "PRESENT", "trust": "CAUTION", "reasons": ["R" * 90]}
    ward.complete(job_id, {"line": "L" * 200, "findings": [finding], "warning": "W" * 90})
    ward.ledger.pages.review(
        Review(job_id, "W" * 64, Verdict.DISAGREE, "Ä" * 300, datetime.now(UTC))
    )
    return [f"/studies/{uid}", f"/jobs/{job_id}"]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1920, 400])
def test_every_page_renders_without_a_complaint_of_the_browser(
    browser: Browser, served: Served, scheme: str, width: int
) -> None:
    browser.media(scheme, width, 1080)
    paths = ["/", f"/jobs/{served.job('sent')}", f"/jobs/{served.job('failed')}"]
    paths += long_words(served.ward)
    for path in paths + [f"/studies/{uid}" for uid in served.studies.values()]:
        browser.goto(served.url(path))
        assert browser.evaluate("document.querySelector('main').innerText.length") > 60
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, path
    assert browser.complaints_so_far() == []


def test_the_browser_would_complain_of_an_inline_script(browser: Browser, served: Served) -> None:
    """Without this the test above could pass by being deaf."""
    app: FastAPI = served.app
    app.add_api_route("/bad", lambda: HTMLResponse("<script>window.owned = true</script>"))
    browser.goto(served.url("/bad"))
    assert browser.evaluate("window.owned") is None
    assert "Content Security Policy" in " ".join(browser.complaints_so_far())


def test_the_report_shows_and_cannot_run_scripts(browser: Browser, served: Served) -> None:
    browser.goto(served.url(f"/jobs/{served.job('sent')}/report"))
    assert "not for diagnostic use" in browser.evaluate("document.body.innerText")
    assert browser.evaluate("document.title") == "Report"
    assert "sandboxed" in " ".join(browser.complaints_so_far())


def test_the_worklist_follows_the_ledger_and_keeps_what_the_reader_types(
    browser: Browser, served: Served
) -> None:
    browser.media("dark", 1920, 1080)
    browser.goto(served.url())
    browser.evaluate("document.querySelector('[name=q]').focus()")
    browser.type("Waiting")
    browser.wait_for("document.querySelectorAll('.list tbody tr').length === 1")
    browser.evaluate("document.querySelector('.list').mine = true")
    waiting = served.ward.ledger.pages.study(served.studies["waiting"])
    assert waiting
    served.ward.complete(waiting.jobs[0]["id"], POSITIVE)
    browser.wait_for("document.querySelector('.list').innerText.includes('Positive')")
    assert browser.evaluate("document.activeElement.value") == "Waiting"
    assert browser.evaluate("document.querySelector('.list').mine") is True
    assert "Waiting" not in browser.evaluate("location.href")
    assert browser.complaints_so_far() == []


def test_the_worklist_is_filtered_by_a_click_and_asked_for_once_a_period(
    browser: Browser, served: Served
) -> None:
    browser.goto(served.url())
    browser.evaluate("document.querySelector('[name=state][value=attention]').click()")
    browser.wait_for("document.querySelectorAll('.list tbody tr').length === 5")
    assert browser.evaluate("location.search") == "?state=attention&page=1"
    browser.evaluate(
        "window.asked = 0; document.addEventListener('htmx:before:request', () => window.asked++)"
    )
    time.sleep(9)
    assert browser.evaluate("window.asked") == 2
    assert browser.complaints_so_far() == []


def test_a_study_page_refreshes_under_a_half_written_review(
    browser: Browser, served: Served
) -> None:
    uid = served.studies["two models"]
    browser.goto(served.url(f"/studies/{uid}"))
    browser.evaluate("document.querySelector('details').open = false")
    browser.evaluate("document.querySelector('[name=verdict][value=DISAGREE]').click()")
    browser.evaluate("document.querySelector('[name=reader]').focus()")
    browser.type("Dr. Weber")
    browser.evaluate("document.querySelector('textarea').focus()")
    browser.type("Not a les")
    page = served.ward.ledger.pages.study(uid)
    assert page
    second = next(job for job in page.jobs if job["model_name"] != MODEL)
    served.ward.complete(second["id"], NEGATIVE)
    browser.wait_for(
        "document.body.innerText.includes('Open the report') && "
        "!document.body.innerText.includes('No result yet')"
    )
    written = browser.evaluate(
        "[...document.querySelectorAll('form.review')].map(f => "
        "[f.verdict.value, f.reader.value, f.comment.value].join('|')).join('')"
    )
    assert "DISAGREE|Dr. Weber|Not a les" in written
    assert browser.evaluate("[...document.querySelectorAll('details')].some(d => !d.open)")
    assert browser.complaints_so_far() == []


def test_an_open_report_says_that_later_images_came_and_stays_as_it_is(
    browser: Browser, served: Served
) -> None:
    browser.goto(served.url(f"/jobs/{served.job('sent')}"))
    browser.evaluate("document.querySelector('iframe').marked = true")
    browser.evaluate("document.querySelector('[name=reader]').focus()")
    browser.type("Dr. Weber")
    served.ward.add_images(served.studies["sent"], 1, first=70)
    browser.wait_for("document.body.innerText.includes('made before the latest images')")
    assert browser.evaluate("document.querySelector('[name=reader]').value") == "Dr. Weber"
    assert browser.evaluate("document.querySelector('iframe').marked") is True


def test_the_page_says_so_when_it_can_no_longer_refresh(browser: Browser, served: Served) -> None:
    browser.goto(served.url())
    assert browser.evaluate("document.querySelector('.stale').hidden") is True
    served.stop()
    browser.wait_for("!document.querySelector('.stale').hidden")
    assert browser.evaluate("document.querySelectorAll('.list tbody tr').length") > 5

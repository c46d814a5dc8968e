"""The page stands alone, reads well for everyone, and no header can speak through it."""

import http.server
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import analyses
import pikepdf
import pytest

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.findings import Presence
from dicom_node.domain.job import SeriesChoice
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.html import report_html
from reports.pdf import html_to_pdf
from reports.settings import ReportSettings

SCRIPT = "<script>alert(1)</script>"
IMAGE = "\"><img src=x onerror='alert(2)'>"


class Page(HTMLParser):
    """What a browser would build."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(given: Analysis) -> Page:
    return Page(report_html(Case(given)))


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture(scope="module")
def hostile() -> str:
    given = analyses.with_text(
        analyses.analysis(),
        {
            "PatientName": f"{SCRIPT}^\u202egnp.exe",
            "PatientID": "7" * 2_000_000,
            "StudyDescription": f"head\x00\x1b[2J{IMAGE}",
            "AccessionNumber": "{{ 7*7 }}",
            "IssuerOfPatientID": "</bdi></dd>" + SCRIPT,
        },
    )
    series = SeriesChoice("2.25.1", SCRIPT * 1000, IMAGE, 3, False, f"{IMAGE} javascript:x")
    given = replace(given, selection=(series,), notes=(SCRIPT, "a\u202eb"), facts={SCRIPT: IMAGE})
    return report_html(Case(given))


def test_no_header_value_becomes_markup(hostile: str) -> None:
    seen = Page(hostile)
    assert {tag for tag, _ in seen.tags} <= ALLOWED
    assert [a for _, attributes in seen.tags for a in attributes if a.startswith("on")] == []
    assert "49" not in seen.text.split()
    assert "<script>" in seen.text


# fmt: off
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "p", "span", "header", "h1", "h2", "h3",
    "dl", "div", "dt", "dd", "bdi", "main", "section", "ul", "li", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "article", "figure", "img", "figcaption", "strong", "code", "footer",
    "details", "summary",
}
# fmt: on


def test_no_header_value_hides_or_floods(hostile: str) -> None:
    assert not set(hostile) & set("\u202e\u202d\u2066\x00\x1b")
    assert "7" * 81 not in hostile
    assert len(hostile) < 2_000_000


@pytest.mark.parametrize("lesions", [0, 2])
def test_the_page_asks_nothing_of_anyone(lesions: int) -> None:
    seen = page(analyses.analysis(phantom(7, lesions=lesions, slices=24, size=96)))
    assert seen.all("script", "link", "iframe", "object", "form", "a") == []
    sources = [attributes["src"] or "" for attributes in seen.all("img")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in "".join(seen.words)
    assert "@import" not in "".join(seen.words)


def test_the_page_can_be_read_by_everyone() -> None:
    """Language, one first heading, no level skipped, scopes of header cells, texts for images."""
    seen = page(analyses.analysis())
    levels = [int(tag[1]) for tag, _ in seen.tags if tag in {"h1", "h2", "h3", "h4"}]
    assert seen.all("html") == [{"lang": "en"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(cell.get("scope") in {"col", "row"} for cell in seen.all("th"))
    assert all(len(image["alt"] or "") > 20 for image in seen.all("img"))
    ids = [attributes["id"] for _, attributes in seen.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    labels = {attributes["aria-labelledby"] for attributes in seen.all("section", "article")}
    assert labels <= set(ids)


def test_the_first_line_is_the_answer() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    assert "Lesion present (2 found), highest probability 92%." in page(given).text
    absent = analyses.with_finding(given, 1, presence=Presence.ABSENT, probability=0.03)
    expected = "Lesion present, probability 92%; Lesion absent, highest probability 3%."
    assert expected in page(absent).text


@pytest.mark.parametrize(
    "words",
    [
        "Made by artificial intelligence. Research only, not for diagnostic use.",
        "Volume 16.7 ml",
        "Mean 107 HU",
        "inside segment 1",
        "Trust in this map: checks passed.",
        "Without this region the model would no longer report the finding.",
        "2 images, the model needs at least 8",
        "Any real patient. It has seen nothing but phantoms.",
        "0.84 to 0.98",
        "b0" * 32,
        "phantom-lesion@1.2.0",
        "Lesions below 8 mm were never shown to it.",
        "Shows that a study makes its way through the node, on synthetic CT.",
        "400 synthetic CT phantoms with planted lesions, seeds 1 to 400.",
        "Sensitivity for a lesion (slices of 3 mm)",
    ],
)
def test_the_page_says(words: str) -> None:
    assert words in page(analyses.analysis()).text


def test_outlines_are_shown_before_heat() -> None:
    """A reader who sees the heat first looks for what it says."""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", report_html(Case(analyses.analysis())))
    assert [unescape(caption) for caption in captions] == [
        "Outlines", "What raised the model's score",
    ]  # fmt: skip


def test_a_map_that_names_no_place_is_not_shown_as_heat() -> None:
    seen = page(analyses.analysis(localised=False))
    assert "No localised evidence" in seen.text
    assert "What raised the model's score" not in seen.text
    assert len(seen.all("img")) == 1


def test_repairs_of_the_source_are_told_by_keyword_only() -> None:
    given = analyses.with_text(analyses.analysis(), {"PatientSex": "secret"})
    text = page(given).text
    assert "repaired in the results: PatientSex." in text
    assert "secret" not in text


def test_times_are_left_out_for_they_change_from_run_to_run() -> None:
    assert "3.1" not in page(analyses.analysis()).text.split()


class _Counter(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Counter,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", handler.asked
        running.shutdown()


def test_the_pdf_engine_fetches_nothing(server: tuple[str, list[str]], tmp_path: Any) -> None:
    """CVE-2025-68616: a page must not make the server ask other servers, or read its files."""
    address, asked = server
    secret = tmp_path / "secret.svg"
    secret.write_text('<svg xmlns="http://www.w3.org/2000/svg"><text>SECRET</text></svg>')
    body = "".join(f'<img src="{url}">' for url in (f"{address}/a.png", secret.as_uri()))
    style = f'<link rel="stylesheet" href="{address}/b.css">'
    text = f"<html lang=en><title>x</title>{style}{body}<p>Here</p></html>"
    pdf = html_to_pdf(text, analyses.AT)
    assert pdf.startswith(b"%PDF")
    assert asked == []


def test_a_number_stays_on_the_line_of_its_unit_and_direction() -> None:
    text = report_html(Case(analyses.analysis(), ReportSettings(language="de")))
    measured = analyses.analysis().findings[0].measurements
    assert "27,4\u00a0mm" in text
    assert "92\u00a0%" in text
    assert len(re.findall(r"H\u00a0-?[\d,]+\u00a0mm", text)) >= len(measured) - 1
    assert not re.findall(r"(?<!lang=\"en\")>[^<]*\d (?:mm|ml|HU)\b[^<]*</span>", text)


@pytest.mark.parametrize("language", ["en", "de", "zh-Hans"])
def test_a_report_of_one_finding_is_printed_on_two_pages(language: str) -> None:
    """A third would hold two lines of hashes, and paper."""
    given = Case(analyses.analysis(), ReportSettings(language=language))
    pages = pikepdf.open(BytesIO(html_to_pdf(report_html(given), given.made_at))).pages
    assert len(pages) == 2


def test_what_is_there_comes_first_and_what_is_absent_is_said_beside_it():
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    both = analyses.with_finding(given, 1, presence=Presence.ABSENT)
    headings = [re.search(r"<h1>(.*?)</h1>", report_html(Case(each)))[1] for each in (given, both)]
    assert "class" not in headings[0]
    first, rest = headings[1].split('<span class="rest">')
    assert ("present" in first, "absent" in first) == (True, False)
    assert ("present" in rest, "absent" in rest) == (False, True)
    nothing = analyses.analysis(phantom(7, lesions=0, slices=3, size=64))
    assert re.search(r"<h1>Lesion absent[^<]*</h1>", report_html(Case(nothing)))


def test_what_figures_were_measured_on_is_said_once():
    given = analyses.analysis(phantom(7, slices=3, size=64))
    rows = given.manifest.card.performance
    assert len({row.data for row in rows}) == 1
    page = report_html(Case(given))
    assert page.count(rows[0].data) == 1
    assert page.count("as above") == len(rows) - 1

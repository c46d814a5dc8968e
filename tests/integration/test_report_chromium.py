"""Everyone can read the report in a browser, and the browser asks nobody for anything."""

from dataclasses import replace
from itertools import cycle

import analyses
import matrix
import pytest
from accessibility import axe_source, barriers
from browser import Browser
from court import Court

from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from reports.answer_page import answer_html
from reports.case import Case
from reports.html import report_html
from reports.references import Reference
from reports.settings import ReportSettings
from reports.unanalysed import Answer

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LANGUAGES = ("en", "de", "zh-Hans")


@pytest.fixture(scope="module")
def browser(tool, tmp_path_factory):
    browser = Browser(tool("chromium"), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def report(language, lesions):
    """With all its parts: a warning, findings, notes, maps that failed, and what it replaces."""
    given = analyses.analysis(phantom(7, lesions=lesions, slices=12, size=64))
    given = replace(given, unfamiliar=True)
    old = Reference("2.25.1", "2.25.2", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.3")
    return report_html(Case(given, ReportSettings(language=language), (old,)))


def answered(language):
    """The page in place of a report."""
    given = analyses.analysis(phantom(7, slices=3, size=64))
    plan = given.manifest.classification
    return answer_html(
        Answer(
            reason="SLICE_SET",
            sources=Case(given).sources,
            images=tuple(Case(given).references.values()),
            maker=Case(given).maker,
            provenance=given.provenance,
            settings=ReportSettings(language=language),
            model_name="phantom-lesion",
            asked=plan.targets,
            selection=given.selection,
        )
    )


def open_page(browser, page, tmp_path, width=1000):
    file = tmp_path / "report.html"
    file.write_text(page, "utf-8")
    browser.media("light", width, 1400)
    browser.complaints_so_far()
    browser.goto(file.as_uri())


@pytest.mark.parametrize("lesions", [0, 2])
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_keeps_anyone_from_reading_it(browser, tool, tmp_path, language, lesions):
    open_page(browser, report(language, lesions), tmp_path)
    assert barriers(browser, axe_source(tool), only_serious=False) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_keeps_anyone_from_reading_why_there_is_none(browser, tool, tmp_path, language):
    open_page(browser, answered(language), tmp_path, width=360)
    assert barriers(browser, axe_source(tool), only_serious=False) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def court(tool, tmp_path_factory):
    return Court(None, tool, tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize(("bundle", "language"), [*zip(matrix.BUNDLES, cycle(LANGUAGES))])
def test_nothing_keeps_anyone_from_reading_what_a_bundle_says(
    browser, tool, tmp_path, court, bundle, language
):
    """Boxes, numbers, derived images, features, sides, views: of a source that it takes."""
    given = court.analysis(matrix.first(bundle), Presence.PRESENT, matrix.BUNDLES[bundle])
    open_page(browser, report_html(Case(given, ReportSettings(language=language))), tmp_path)
    assert barriers(browser, axe_source(tool), only_serious=False) == []


def test_the_judge_sees_what_is_wrong(browser, tool, tmp_path):
    page = report("en", 1).replace('<html lang="en">', "<html>").replace('alt="', 'data-alt="')
    open_page(browser, page, tmp_path)
    found = " ".join(barriers(browser, axe_source(tool)))
    assert "html-has-lang" in found
    assert "image-alt" in found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_browser_asks_nobody_for_anything(browser, tmp_path, language):
    open_page(browser, report(language, 1), tmp_path)
    asked = browser.evaluate("performance.getEntriesByType('resource').map(e => e.name).join()")
    assert [name for name in asked.split(",") if name and not name.startswith("data:")] == []
    assert browser.complaints_so_far() == []
    assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 50)")


@pytest.mark.parametrize("width", [360, 1000])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_fits_on_a_telephone_and_on_a_screen(browser, tmp_path, language, width):
    open_page(browser, report(language, 2), tmp_path, width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelector('h1').getBoundingClientRect().top < 400")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_column_of_the_findings_is_cut_off(browser, tmp_path, language):
    """Of targets that exclude each other, whose condition is long."""
    given = analyses.analysis(phantom(7, lesions=1, slices=3, size=64))
    plan, *others = given.manifest.outputs
    model = given.manifest.model_copy(
        update={"outputs": (plan.model_copy(update={"exclusive": True}), *others)}
    )
    case = Case(replace(given, manifest=model), ReportSettings(language=language))
    open_page(browser, report_html(case), tmp_path)
    table = "document.querySelector('table.findings').parentElement"
    assert browser.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")

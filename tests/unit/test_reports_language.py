"""The reports speak English, German and Simplified Chinese, and no text is left behind."""

import json
import re
from datetime import date, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import analyses
import highdicom as hd
import pytest
import validators
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import reports
from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from reports import fonts
from reports.case import Case
from reports.html import report_html
from reports.language import (
    CATALOGUES,
    FOLDERS,
    _,
    day,
    fixed,
    moment,
    number,
    percent,
    speaking,
)
from reports.part10 import dataset_bytes
from reports.settings import ReportSettings
from reports.terms import term
from reports.wording import summary
from reports.writer import write_results

KEYWORDS = {"_": None, "N_": None, "gettext": None}
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
BLANK = re.compile(r"%\(\w+\)s|\{\w*\}")
OTHERS = sorted(FOLDERS)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def messages():
    options = {"**/templates/**.html": {"extensions": "jinja2.ext.i18n"}}
    root = str(Path(reports.__file__).parent)
    return {m[2] for m in extract_from_dir(root, METHODS, options, KEYWORDS)}


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_with_the_same_blanks(language):
    with (CATALOGUES / FOLDERS[language] / "LC_MESSAGES" / "reports.po").open("rb") as file:
        catalogue = read_po(file)
    said = {m.id: m.string for m in catalogue if m.id and not m.fuzzy}
    assert messages() - said.keys() == set()
    assert said.keys() - messages() == set()
    assert [text for text, other in said.items() if not other] == []
    for text, other in said.items():
        assert sorted(BLANK.findall(text)) == sorted(BLANK.findall(other)), text


class Words(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.language, self.skipped = [], None, False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.language = self.language or attributes.get("lang")
        self.skipped = tag == "style"
        self.found += [attributes[a] for a in ("alt", "title") if attributes.get(a)]

    def handle_data(self, data):
        if data.strip() and not self.skipped:
            self.found.append(" ".join(data.split()))


def page(language, lesions=1):
    given = analyses.analysis(phantom(7, lesions=lesions, slices=12, size=64))
    return Words(report_html(Case(given, ReportSettings(language=language))))


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("lesions", [0, 1])
def test_the_page_holds_no_text_of_ours_in_english(language, lesions):
    seen = page(language, lesions)
    assert seen.language == language
    same = {m for m in messages() if _said(m, language) == m}
    assert [w for w in seen.found if w in messages() - same] == []


def _said(text, language):
    with speaking(language):
        return _(text)


SUMMARIES = {
    "en": "Lesion present (2 found), highest probability 92%.",
    "de": "Läsion vorhanden (2 gefunden), höchste Wahrscheinlichkeit 92\xa0%.",
    "zh-Hans": "病灶：存在（共 2 处），最高概率 92%。",
}


@pytest.mark.parametrize("language", SUMMARIES)
def test_the_summary_is_a_sentence_of_its_language(language):
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    with speaking(language):
        assert summary(given) == SUMMARIES[language]
        absent = analyses.with_finding(given, 1, presence=Presence.ABSENT)
        assert summary(absent).count(_("; ")) == 1


WRITTEN = {
    "en": ("0.0187", "108", "1235", "57.5", "14 Mar 2026", "14 Mar 2026, 09:26", "<1%"),
    "de": ("0,0187", "108", "1235", "57,5", "14.03.2026", "14.03.2026, 09:26", "<1\xa0%"),
    "zh-Hans": ("0.0187", "108", "1235", "57.5", "2026年3月14日", "2026年3月14日 09:26", "<1%"),
}


@pytest.mark.parametrize("language", WRITTEN)
def test_numbers_and_dates_are_written_as_in_the_country(language):
    with speaking(language):
        numbers = (number(0.01869), number(108.4), number(1234.7), fixed(57.52, 1))
        dates = (day(date(2026, 3, 14)), moment(datetime(2026, 3, 14, 9, 26, 53)))
        assert (*numbers, *dates, percent(0.004)) == WRITTEN[language]
        assert percent(0.999).startswith(">99")


def test_a_time_of_day_says_its_zone_where_it_is_known():
    zone = timezone(-timedelta(hours=3, minutes=30))
    with speaking("de"):
        said = moment(datetime(2026, 3, 14, 9, 26, 53, 123456, zone))
    assert said == "14.03.2026, 09:26 UTC-03:30"


def test_reasons_of_routing_are_translated_around_what_they_quote():
    with speaking("de"):
        assert term("modality US, not CT or MR") == "Modalität US statt CT oder MR"
        assert term("2 images, fewer than 8") == "2 Bilder, weniger als 8"
        assert term("What nobody knows") == "What nobody knows"
    assert term("modality US, not CT") == "modality US, not CT"


@pytest.mark.validators
@pytest.mark.parametrize("language", OTHERS)
def test_the_sr_says_its_language_and_speaks_it(language, tool, tmp_path):
    tool("dciodvfy")
    given = analyses.analysis()
    results = write_results(Case(given, ReportSettings(language=language)))
    path = tmp_path / "sr.dcm"
    path.write_bytes(dataset_bytes(results[-1].dataset))
    document = hd.sr.srread(path)
    assert document.ContentSequence[0].ConceptCodeSequence[0].CodeValue == language
    text = json.dumps(document.to_json_dict(), ensure_ascii=False)
    assert summary_in(language, given) in text
    assert _said("not for diagnostic use", language) in document.SeriesDescription
    for number_, result in enumerate(results):
        file = tmp_path / f"{number_}.dcm"
        file.write_bytes(dataset_bytes(result.dataset))
        assert validators.dciodvfy(file) == []


def summary_in(language, given):
    with speaking(language):
        return summary(given)


@pytest.mark.parametrize("language", OTHERS)
def test_pictures_show_the_language_or_english_where_there_is_no_font(language, monkeypatch):
    given = analyses.analysis(phantom(7, slices=3, size=64))

    def panel(chosen):
        case = Case(given, ReportSettings(language=chosen))
        with speaking(chosen):
            return case.pictures[0].panel.tobytes()

    assert panel(language) != panel("en")
    monkeypatch.setitem(fonts.FILES, language, (("no-such-font.ttf", 0),))
    fonts._file.cache_clear()
    assert panel(language) == panel("en")
    fonts._file.cache_clear()

"""That images are unlike those that a model learnt from stands before what it says of them."""

from dataclasses import replace
from io import BytesIO

import analyses
import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.domain.delivery import ResultKind
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.html import report_html
from reports.language import speaking
from reports.marks import RED, Type, banner
from reports.part10 import dataset_bytes
from reports.settings import ReportSettings
from reports.wording import summary, warning
from reports.writer import WRITERS, write_results

LANGUAGES = {
    "en": "do not rely on what it says",
    "de": "Verlassen Sie sich nicht",
    "zh-Hans": "请勿依赖",
}
FAMILIAR = analyses.analysis(phantom(7, slices=12, size=96))
STRANGE = replace(FAMILIAR, unfamiliar=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_warns_before_it_gives_the_answer(language: str) -> None:
    with speaking(language):
        answer = summary(STRANGE)
    page = report_html(Case(STRANGE, ReportSettings(language=language)))
    body = page[page.index("<header>") :]
    assert LANGUAGES[language] in body
    assert body.index(LANGUAGES[language]) < body.index(answer[:6])
    assert LANGUAGES[language] not in report_html(Case(FAMILIAR, ReportSettings(language=language)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_capture_warns_for_it_may_be_all_that_a_pacs_shows(language: str) -> None:
    settings = ReportSettings(language=language)
    with speaking(language):
        plain, warned = (
            np.asarray(Case(g, settings).pictures[0].panel) for g in (FAMILIAR, STRANGE)
        )
    assert not (plain == RED).all(axis=-1).any()
    rows = np.flatnonzero((warned == RED).all(axis=-1).mean(axis=1) > 0.3)
    assert 0 < rows.min() < 60  # under the band that every picture has
    assert len(rows) == len(warned) - len(plain)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_warning_is_broken_into_lines_that_fit(language: str) -> None:
    kind = Type(22)
    with speaking(language):
        wide, narrow = (banner(warning(STRANGE), width, kind) for width in (3000, 500))
        font = kind.font()
    assert narrow.height > wide.height
    edge = np.asarray(narrow)[:, -kind.pad // 2 :]
    assert (edge == RED).all(), font
    assert banner("", 500, kind).height == 0


def test_documents_warn_too() -> None:
    results = {each.kind: each.dataset for each in write_results(Case(STRANGE), WRITERS)}
    for kind in (ResultKind.STRUCTURED_REPORT, ResultKind.KEY_OBJECTS):
        document = dcmread(BytesIO(dataset_bytes(results[kind])))
        said = [str(item.value) for item in document.iterall() if item.keyword == "TextValue"]
        assert any(LANGUAGES["en"] in text for text in said), kind

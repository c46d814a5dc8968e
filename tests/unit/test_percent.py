"""A probability never looks as if it contradicted the answer: it shows the digits that tell."""

from collections.abc import Iterator

import analyses
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.findings import Presence
from dicom_node.domain.wording import operating_point, percent
from dicom_node.testing.phantom import phantom
from dicom_node.web.answers import answers
from dicom_node.web.site import templates
from reports import language, pictures
from reports.case import Case
from reports.html import report_html
from reports.settings import Language, ReportSettings
from reports.structured_report import StructuredReportWriter
from reports.wording import summary
from workers import bootstrap

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SAID = {
    (0.496, 0.5): ("49.6%", "49,6\xa0%", "49.6%"),
    (0.504, 0.5): ("50%", "50\xa0%", "50%"),
    (0.9995, 0.5): (">99%", ">99\xa0%", ">99%"),
    (0.004, 0.5): ("<1%", "<1\xa0%", "<1%"),
    (0.49996, 0.5): ("49.996%", "49,996\xa0%", "49.996%"),
    (0.504, 0.501): ("50.4%", "50,4\xa0%", "50.4%"),
    (0.9995, 0.995): (">99.5%", ">99,5\xa0%", ">99.5%"),
    (0.0049, 0.005): ("<0.5%", "<0,5\xa0%", "<0.5%"),
    (0.07, 0.07): ("7%", "7\xa0%", "7%"),
    (float(np.float32(0.7)), 0.7): ("70%", "70\xa0%", "70%"),
}
LANGUAGES: tuple[Language, ...] = ("en", "de", "zh-Hans")
POINTS = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)


@pytest.mark.parametrize(("probability", "threshold"), SAID)
def test_as_many_digits_as_it_takes(probability: float, threshold: float) -> None:
    for spoken, said in zip(LANGUAGES, SAID[probability, threshold], strict=True):
        with language.speaking(spoken):
            assert language.percent(probability, threshold) == said


def test_an_operating_point_is_said_as_it_was_set() -> None:
    assert [operating_point(point) for point in (0.5, 0.125, 0.07)] == ["50%", "12.5%", "7%"]
    with language.speaking("de"):
        assert language.operating_point(0.125) == "12,5\xa0%"


@given(st.one_of(st.floats(-1, 1), st.floats(-0.01, 0.01), st.just(0.0)), POINTS)
def test_what_is_said_is_on_the_side_of_the_threshold_that_it_is(
    away: float, threshold: float
) -> None:
    probability = float(np.float32(min(max(threshold + away, 0), 1)))
    said = percent(probability, threshold)
    present, shown = np.float32(probability) >= np.float32(threshold), float(said.strip("<>%"))
    limit = float(operating_point(threshold).strip("%"))
    assert present == (shown >= limit and not said.startswith("<"))
    assert 0 < shown < 100


def near(probability: float) -> Analysis:
    """A lesion that is all but called present."""
    made = analyses.analysis(phantom(7, lesions=0, slices=3, size=64))
    return analyses.with_finding(made, probability=probability, presence=Presence.ABSENT)


@pytest.mark.parametrize("spoken", LANGUAGES)
def test_every_result_says_the_same(spoken: Language) -> None:
    case = Case(near(0.496), ReportSettings(language=spoken))
    said = SAID[0.496, 0.5][LANGUAGES.index(spoken)]
    page = report_html(case)
    with language.speaking(spoken):
        whole = language.percent(0.5)
        assert f">{said}<" in page
        assert said in summary(case.analysis)
        headline = pictures.headline(case.analysis, case.key_slices[0])
        assert said.replace("\xa0", " ") in headline
        (report,) = StructuredReportWriter().write(case, [])
    assert page.count(whole) == 1  # the operating point
    texts = list(_texts(report.dataset))
    assert summary_of(case) in texts
    assert {49.6} == {float(number) for number in _numbers(report.dataset)}


def summary_of(case: Case) -> str:
    with language.speaking(case.settings.language):
        return summary(case.analysis)


def _texts(item: object) -> Iterator[str]:
    for child in getattr(item, "ContentSequence", ()):
        yield from [child.TextValue] if "TextValue" in child else []
        yield from _texts(child)


def _numbers(item: object) -> Iterator[str]:
    """Probabilities."""
    for child in getattr(item, "ContentSequence", ()):
        names = [name.CodeValue for name in child.get("ConceptNameCodeSequence", ())]
        if names == ["122157"]:
            yield child.MeasuredValueSequence[0].NumericValue
        yield from _numbers(child)


def test_the_page_of_the_node_says_the_same() -> None:
    job = {"id": "1", "state": "ANALYSED", "rejected": False, "reason": "", "model_name": "m",
           "generation": 1, "summary": bootstrap.summary(near(0.49996))}  # fmt: skip
    (answer,) = answers([job])
    template = "{% from 'macros.html' import findings %}{{ findings(answer) }}"
    page = templates().from_string(template).render(answer=answer)
    assert "probability 49.996%" in page
    assert "49.996%" in answer.state.line


def test_of_targets_that_exclude_each_other_the_likeliest_counts() -> None:
    made = near(0.62)
    plan = made.manifest.classification
    assert plan is not None
    outputs = (plan.model_copy(update={"exclusive": True}), *made.manifest.outputs[1:])
    rivals = analyses.with_finding(made, probability=0.62)
    model = made.manifest.model_copy(update={"outputs": outputs})
    case = Case(type(made)(**{**vars(rivals), "manifest": model}))
    assert "present from 50%, where nothing else is likelier" in report_html(case).replace(
        "\xa0", " "
    )
    (report,) = StructuredReportWriter().write(case, [])
    assert any("where nothing else is likelier" in text for text in _texts(report.dataset))

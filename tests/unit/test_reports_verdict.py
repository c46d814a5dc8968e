"""How far a map can be believed stands in every result, and a map that failed is shown by none."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import analyses
import highdicom as hd
import numpy as np
import pytest
import validators
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.explanation import ExplanationQuality, Trust
from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.html import report_html
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.settings import ReportSettings
from reports.writer import WRITERS, write_results

REASON = "The score stays where it is when the hottest region is blurred."
HEAT = {
    ResultKind.PARAMETRIC_MAP,
    ResultKind.COLOR_PRESENTATION_STATE,
}


def trusted(trust: Trust, given: Analysis | None = None) -> Analysis:
    given = given or analyses.analysis(phantom(7, slices=12, size=96))
    for index, finding in enumerate(given.findings):
        assert finding.explanation
        quality = replace(finding.explanation.quality, trust=trust, reasons=(REASON,))
        explanation = replace(finding.explanation, quality=quality)
        given = analyses.with_finding(given, index, explanation=explanation)
    return given


def report_of(given: Analysis) -> Dataset:
    report = write_results(Case(given), WRITERS)[-3]
    assert report.kind is ResultKind.STRUCTURED_REPORT
    return hd.sr.srread(BytesIO(dataset_bytes(report.dataset)))


def group_of(report: Dataset) -> Dataset:
    container = next(i for i in report.ContentSequence if code_of(i) == ("126010", "DCM"))
    return container.ContentSequence[0]


def code_of(item: Dataset) -> tuple[str, str]:
    code = item.ConceptNameCodeSequence[0]
    return str(code.CodeValue), str(code.CodingSchemeDesignator)


def named(item: Dataset, value: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", ()) if code_of(child)[0] == value]


@pytest.mark.parametrize("trust", Trust)
def test_the_sr_states_the_verdict_in_a_code_with_its_reason(trust: Trust) -> None:
    report = report_of(trusted(trust))
    (verdict,) = named(group_of(report), "TRUST")
    assert verdict.RelationshipType == "CONTAINS"
    assert verdict.ConceptCodeSequence[0].CodeValue == trust.value
    (reason,) = named(verdict, "410666004")
    assert (reason.ValueType, reason.TextValue) == ("TEXT", REASON)
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == code_of(verdict)[1] == "99DICOMNODE"


def test_only_what_holds_our_codes_says_whose_they_are() -> None:
    given = analyses.analysis(phantom(7, slices=5, size=64), explained=False)
    assert "CodingSchemeIdentificationSequence" not in report_of(given)
    disc = Code("INSERT_DISC", "99DICOMNODE", "Disc insert")
    given = replace(given, segments=(replace(given.segments[0], type=disc),))
    (segmentation,) = SegmentationWriter().write(Case(given), ())
    (scheme,) = segmentation.dataset.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99DICOMNODE"


def test_the_sr_holds_each_measure_as_a_number_from_which_the_verdict_is_inferred() -> None:
    given = trusted(Trust.RELIABLE)
    assert given.findings[0].explanation
    (verdict,) = named(group_of(report_of(given)), "TRUST")
    numbers = [item for item in verdict.ContentSequence if item.ValueType == "NUM"]
    assert {item.RelationshipType for item in numbers} == {"INFERRED FROM"}
    written = [
        (
            code_of(item)[0],
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
            named(item, "121106")[0].TextValue,
        )
        for item in numbers
    ]
    measures = given.findings[0].explanation.quality.measures
    assert written == [(m.name.value, m.value, m.unit.value, m.meaning) for m in measures]


def test_a_verdict_without_reasons_and_numbers_is_a_bare_code() -> None:
    given = analyses.analysis(phantom(7, slices=12, size=96))
    assert given.findings[0].explanation
    bare = replace(given.findings[0].explanation, quality=ExplanationQuality(Trust.NOT_MEASURED))
    (verdict,) = named(group_of(report_of(analyses.with_finding(given, explanation=bare))), "TRUST")
    assert "ContentSequence" not in verdict


def test_a_map_that_failed_its_checks_is_in_no_result() -> None:
    given = trusted(Trust.NOT_RELIABLE)
    kinds = {result.kind for result in write_results(Case(given), WRITERS)}
    assert kinds & HEAT == set()
    assert ResultKind.SECONDARY_CAPTURE in kinds
    assert named(group_of(report_of(given)), "130401") == []
    assert len(named(group_of(report_of(trusted(Trust.CAUTION))), "130401")) == 2


@pytest.mark.parametrize("state", [Presence.PRESENT, Presence.ABSENT])
def test_pictures_of_a_failed_map_show_no_heat_and_no_place(state: Presence) -> None:
    body = phantom(7, lesions=1 if state is Presence.PRESENT else 0, slices=12, size=96)
    (picture,) = Case(trusted(Trust.NOT_RELIABLE, analyses.analysis(body))).pictures
    assert picture.heated is None
    assert picture.key.regions == ()
    panel = np.asarray(picture.panel)
    given = analyses.analysis(body, explained=False)
    bare = np.asarray(Case(given).pictures[0].panel)
    rows = slice(90, 850)
    assert (panel[rows] == bare[rows]).all()


@pytest.mark.parametrize(
    ("language", "withheld", "verdict"),
    [
        (
            "en",
            "The heat map is withheld: it failed its checks.",
            "Heat map withheld: not reliable",
        ),
        ("de", "Die Heatmap wird nicht gezeigt", "Heatmap nicht gezeigt: nicht verlässlich"),
        ("zh-Hans", "不显示热图", "不显示热图：不可靠"),
    ],
)
def test_the_page_says_that_the_map_is_withheld_and_why(
    language: str, withheld: str, verdict: str
) -> None:
    page = report_html(Case(trusted(Trust.NOT_RELIABLE), ReportSettings(language=language)))
    assert withheld in page
    assert verdict in page
    assert REASON in page
    assert page.count("<img") == 1
    assert "Project-Id-Version" not in page


def test_a_slice_of_two_findings_shows_the_map_that_passed() -> None:
    """Both lie in one slice: one of the maps failed, the other is shown in its own words."""
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    first, second = given.findings
    failed = trusted(Trust.NOT_RELIABLE, given).findings[0].explanation
    given = analyses.with_finding(given, 0, explanation=failed)
    given = analyses.with_finding(given, 1, frame=first.frame)
    (picture,) = Case(given).pictures
    assert picture.key.explained.tracking_id == second.tracking_id


@pytest.mark.validators
@pytest.mark.parametrize("trust", [Trust.CAUTION, Trust.NOT_RELIABLE])
def test_results_with_a_verdict_are_valid(
    trust: Trust, tool: validators.Tool, tmp_path: Path
) -> None:
    tool("dciodvfy"), tool("javac")
    for number, result in enumerate(write_results(Case(trusted(trust)), WRITERS)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(dataset_bytes(result.dataset))
        assert validators.dciodvfy(path) == []
        if result.kind is ResultKind.STRUCTURED_REPORT:
            assert validators.sr_validator(path) == []

"""Left and right stand wherever an answer does: in report, table, segment, picture, selection."""

import re
from dataclasses import replace
from html import unescape

import analyses
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Estimate, Presence
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.html import report_html
from reports.key_objects import KeyObjectsWriter
from reports.language import speaking
from reports.pictures import headline
from reports.secondary_capture import SecondaryCaptureWriter
from reports.segmentation import SegmentationWriter
from reports.settings import Language, ReportSettings
from reports.side import WORDS, side_of
from reports.structured_report import StructuredReportWriter
from reports.wording import summary
from reports.writer import write_results
from workers.bootstrap import summary as summary_of_pages

CODED = "ConceptCodeSequence"
WRITERS = (SegmentationWriter(), KeyObjectsWriter(), StructuredReportWriter())
SAID: dict[Language, tuple[str, str, str, str]] = {
    "en": ("Lesion (left) present", "Lesion (right) absent", "Trunk, left", "Trunk, right"),
    "de": ("Läsion (links) vorhanden", "Läsion (rechts) nicht vorhanden", "Rumpf, links",
           "Rumpf, rechts"),
    "zh-Hans": ("病灶（左侧）：存在", "病灶（右侧）：不存在", "躯干，左侧", "躯干，右侧"),
}  # fmt: skip


def sided(**left: str) -> Analysis:
    """A lesion in an image of the left side, and none in an image of the right."""
    given = analyses.analysis(phantom(7, lesions=1, slices=12, size=64))
    first = given.findings[0]
    for number, header in enumerate(given.images.datasets):
        header.ImageLaterality = "R" if number == 0 else "L"
        for keyword, value in left.items():
            setattr(header, keyword, value)
    absent = replace(
        first, presence=Presence.ABSENT, probability=0.04, frame=0, segment=None,
        explanation=None, measurements=(), tracking_uid="2.25.4",
    )  # fmt: skip
    return replace(given, findings=(first, absent))


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ").split())


def results(given: Analysis, language: Language = "en") -> dict[ResultKind, Dataset]:
    case = Case(given, ReportSettings(language=language))
    return {result.kind: result.dataset for result in write_results(case, WRITERS)}


def texts(dataset: Dataset) -> str:
    return "\n".join(e.value for e in dataset.iterall() if e.keyword == "TextValue")


@pytest.mark.parametrize("language", SAID)
def test_every_result_names_the_side_of_each_answer(language: Language) -> None:
    given, (present, absent, here, there) = sided(), SAID[language]
    page = words(report_html(Case(given, ReportSettings(language=language))))
    for text in (present, absent, here, there):
        assert text in page
    written = results(given, language)
    for kind in (ResultKind.KEY_OBJECTS, ResultKind.STRUCTURED_REPORT):
        assert present in texts(written[kind])
        assert absent in texts(written[kind])
    with speaking(language):
        case = Case(given, ReportSettings(language=language))
        assert present in headline(given, case.key_slices[0])
        assert summary(given).index(present) < summary(given).index(absent)


def test_findings_of_one_side_are_counted_together_and_those_of_another_are_not() -> None:
    given = sided()
    again = replace(given, findings=(*given.findings, *given.findings))
    said = summary(again)
    assert "Lesion (left) present (2 found)" in said
    assert "Lesion (right) absent (2 found)" in said


def test_the_pages_of_the_node_name_the_side() -> None:
    labels = [finding["label"] for finding in summary_of_pages(sided())["findings"]]
    assert labels == ["Lesion (left)", "Lesion (right)"]


def test_report_and_segment_state_the_same_side() -> None:
    written = results(sided())
    segment = written[ResultKind.SEGMENTATION].SegmentSequence[0]
    (modifier,) = segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence
    report = written[ResultKind.STRUCTURED_REPORT]
    codes_in = [e.value[0].CodeValue for e in report.iterall() if e.keyword == CODED]
    stated = [code for code in codes_in if code in WORDS]
    assert stated == [modifier.CodeValue, codes.SCT.Right.value] == ["7771000", "24028007"]


def test_a_frame_of_a_multi_frame_image_has_the_side_of_its_functional_group() -> None:
    given = sided()
    finding, frames = given.findings[0], []
    for side in "LR":
        group, anatomy = Dataset(), Dataset()
        anatomy.FrameLaterality = side
        group.FrameAnatomySequence = [anatomy]
        frames.append(group)
    header = given.images.datasets[0]
    del header.ImageLaterality
    header.PerFrameFunctionalGroupsSequence = frames
    references = tuple(
        replace(given.images.frames[0], frame_number=number) for number in range(1, 3)
    )
    images = replace(given.images, frames=references)
    sides = [side_of(images, replace(finding, frame=frame)) for frame in range(2)]
    assert sides == [codes.SCT.Left, codes.SCT.Right]


def test_an_image_of_both_sides_says_so_and_one_of_no_side_says_nothing() -> None:
    given = sided(ImageLaterality="B")
    assert "Lesion (both sides) present" in summary(given)
    unpaired = sided(ImageLaterality="U")
    assert "(" not in summary(unpaired)
    assert side_of(unpaired.images, unpaired.findings[0]) is None


@pytest.mark.parametrize(("other", "said"), [("R", ""), ("L", "L")])
def test_results_of_series_of_both_sides_are_not_called_those_of_one(other, said) -> None:
    given = analyses.analysis(phantom(7, lesions=1, slices=12, size=64))
    for number, header in enumerate(given.images.datasets):
        header.BodyPartExamined, header.Laterality = "KNEE", "L" if number == 0 else other
    (capture,) = write_results(Case(given), (SecondaryCaptureWriter(),))
    assert (capture.dataset.BodyPartExamined, capture.dataset.Laterality or "") == ("KNEE", said)


def test_a_number_has_the_side_of_its_image_too() -> None:
    given = sided()
    finding = given.findings[0]
    estimate = Estimate(
        "lesion", finding.code, finding.category, finding.frame, "size", "2.25.5",
        finding.measurements,
    )  # fmt: skip
    assert "Lesion (left): Volume" in summary(replace(given, findings=(), estimates=(estimate,)))


def test_the_side_that_a_model_states_goes_before_that_of_the_image() -> None:
    given = sided()
    target = given.findings[0].target
    laterality = {"value": "66459002", "scheme": "SCT", "meaning": "Unilateral"}
    stated = type(target).model_validate(target.model_dump() | {"laterality": laterality})
    said = analyses.with_finding(given, target=stated)
    assert "Lesion (one side) present" in summary(said)

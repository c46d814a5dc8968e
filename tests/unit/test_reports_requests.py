"""A document names the order that the images were made for, as far as they name it."""

from collections.abc import Callable
from pathlib import Path

import analyses
import pytest
import validators
from pydicom.dataset import Dataset

from dicom_node.domain.delivery import ResultKind
from reports.answer import Answer, answer_document
from reports.case import Case
from reports.key_objects import KeyObjectsWriter
from reports.part10 import dataset_bytes
from reports.references import Reference
from reports.settings import ReportSettings
from reports.source import repaired_sources
from reports.structured_report import StructuredReportWriter
from reports.subject import Maker
from reports.writer import write_results

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

NUMBERS = {
    "AccessionNumber": "A-7",
    "PlacerOrderNumberImagingServiceRequest": "P-1",
    "FillerOrderNumberImagingServiceRequest": "F-2",
    "RequestedProcedureID": "RP-3",
    "RequestedProcedureDescription": "CT of the trunk",
}
FORMS = [ResultKind.STRUCTURED_REPORT, ResultKind.FLAT_REPORT, ResultKind.ENHANCED_REPORT]


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def ordered(**changes: object) -> Dataset:
    """An item of Request Attributes Sequence that holds all that there is."""
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="2.25.1001"
    )
    code = item(CodeValue="CT-1", CodingSchemeDesignator="99SITE", CodeMeaning="CT")
    complete = {
        **NUMBERS,
        "StudyInstanceUID": "2.25.1001",
        "ReferencedStudySequence": [study],
        "IssuerOfAccessionNumberSequence": [item(LocalNamespaceEntityID="RIS")],
        "RequestedProcedureCodeSequence": [code],
        "ScheduledProcedureStepID": "S-1",
        "ScheduledProcedureStepDescription": "native",
    }
    return item(**{**complete, **changes})


def requests(*attributes: Dataset, **header: object) -> list[Dataset]:
    return list(document(*attributes, **header).get("ReferencedRequestSequence") or ())


def document(
    *attributes: Dataset, form: ResultKind = ResultKind.STRUCTURED_REPORT, **header: object
) -> Dataset:
    """The SR of a study whose images all name these requests."""
    stated = {"RequestAttributesSequence": [*attributes], **header}
    given = analyses.with_text(analyses.analysis(), stated)
    (result,) = write_results(Case(given), (StructuredReportWriter(form),))
    return result.dataset


def test_an_order_is_named_with_all_that_identifies_it() -> None:
    (request,) = requests(ordered())
    assert {keyword: request[keyword].value for keyword in NUMBERS} == NUMBERS
    assert request.StudyInstanceUID == "2.25.1001"
    assert request.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "2.25.1001"
    assert request.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "CT-1"
    assert "ScheduledProcedureStepID" not in request


def test_what_the_source_does_not_name_is_empty_and_the_number_of_the_study_is_its_orders() -> None:
    (request,) = requests(item(RequestedProcedureID="RP-3"), AccessionNumber="A-1")
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP-3", "A-1")
    assert request.StudyInstanceUID == "2.25.1001"
    assert not request.ReferencedStudySequence
    assert not request.RequestedProcedureCodeSequence
    assert request["FillerOrderNumberImagingServiceRequest"].is_empty
    assert "IssuerOfAccessionNumberSequence" not in request


def test_an_order_of_another_study_does_not_get_the_number_of_this_one() -> None:
    elsewhere = item(RequestedProcedureID="RP-3", StudyInstanceUID="2.25.4")
    (request,) = requests(elsewhere, AccessionNumber="A-1")
    assert request.StudyInstanceUID == "2.25.4"
    assert request["AccessionNumber"].is_empty


def test_the_steps_of_one_request_are_one_and_two_requests_are_two() -> None:
    another = ordered(RequestedProcedureID="RP-4")
    found = requests(ordered(), ordered(ScheduledProcedureStepID="S-2"), another)
    assert [request.RequestedProcedureID for request in found] == ["RP-3", "RP-4"]


def test_without_an_order_there_is_none() -> None:
    assert requests() == []
    assert requests(item(ScheduledProcedureStepID="S-1")) == []
    assert "ReferencedRequestSequence" not in document()


@pytest.mark.validators
def test_the_selection_of_key_images_names_it_too(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    """PS3.3 Table C.17.6-2."""
    tool("dciodvfy")
    stated = {"RequestAttributesSequence": [ordered()]}
    given = analyses.with_text(analyses.analysis(), stated)
    (selection,) = write_results(Case(given), (KeyObjectsWriter(),))
    assert list(selection.dataset.ReferencedRequestSequence) == requests(ordered())
    path = tmp_path / "selection.dcm"
    path.write_bytes(dataset_bytes(selection.dataset))
    assert validators.dciodvfy(path) == []


@pytest.mark.validators
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [False, True])
def test_a_document_with_an_order_is_valid(
    bad: bool, form: ResultKind, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("dciodvfy")
    wrong = {
        "RequestedProcedureID": "R" * 30, "StudyInstanceUID": "none",
        "ReferencedStudySequence": [item(ReferencedSOPInstanceUID="2.25.4")],
        "RequestedProcedureCodeSequence": [item(CodeValue="1")],
        "IssuerOfAccessionNumberSequence": [item(UniversalEntityID="1.2.3")],
        "PlacerOrderNumberImagingServiceRequest": "P" * 80,
    }  # fmt: skip
    path = tmp_path / "report.dcm"
    path.write_bytes(dataset_bytes(document(ordered(**(wrong if bad else {})), form=form)))
    assert validators.dciodvfy(path) == []


@pytest.mark.validators
def test_an_answer_names_the_order_too(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("dciodvfy")
    given = analyses.with_text(analyses.analysis(), {"RequestAttributesSequence": [ordered()]})
    headers = given.images.datasets
    answer = Answer(
        "GEOMETRY", repaired_sources(headers[:1]), tuple(map(Reference.to, headers)), Maker.node(),
        given.provenance, ReportSettings(),
    )  # fmt: skip
    dataset = answer_document(answer).dataset
    assert dataset.ReferencedRequestSequence[0].AccessionNumber == "A-7"
    path = tmp_path / "answer.dcm"
    path.write_bytes(dataset_bytes(dataset))
    assert validators.dciodvfy(path) == []

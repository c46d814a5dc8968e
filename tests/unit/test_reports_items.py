"""Items that name a character set of their own are read in it, and results say them in UTF-8."""

from io import BytesIO

import analyses
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import write_results

KANJI, GB18030, UTF8 = ["", "ISO 2022 IR 87"], "GB18030", "ISO_IR 192"


def item(character_set: object = None, **values: object) -> Dataset:
    made = Dataset()
    if character_set:
        made.SpecificCharacterSet = character_set
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def stated() -> dict[str, object]:
    """Latin-1 around items in other character sets, and items within those without one."""
    issuer = item(LocalNamespaceEntityID="東京")
    inherits = item(IssuerOfPatientIDQualifiersSequence=[item(AssigningFacilitySequence=[issuer])])
    inherits.update(item(KANJI, PatientID="7", IssuerOfPatientID="病院"))
    code = {"CodeValue": "1", "CodingSchemeDesignator": "99SITE"}
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Jörg",
        "OtherPatientIDsSequence": [
            inherits,
            item(GB18030, PatientID="8", IssuerOfPatientID="北京医院"),
            item(PatientID="9", IssuerOfPatientID="Zürich"),
        ],
        "ProcedureCodeSequence": [item(KANJI, CodeMeaning="頭部", **code)],
        "RequestAttributesSequence": [
            item(GB18030, RequestedProcedureDescription="头部平扫", RequestedProcedureID="1",
                 ScheduledProcedureStepID="1")
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def results() -> list[Dataset]:
    """As they lie in the store, of images that were read from files."""
    source = phantom(7, lesions=1, slices=12, size=64)
    written = map(dataset_bytes, analyses.study(source, attributes=stated()))
    instances = [dcmread(BytesIO(each)) for each in written]
    assert b"\x1b$B" in dataset_bytes(instances[0]), "the source does not say it so"
    assert "北京医院".encode("gb18030") in dataset_bytes(instances[0])
    case = Case(analyses.analysis(source, instances))
    made = write_results(case, (SegmentationWriter(), StructuredReportWriter()))
    return [dcmread(BytesIO(dataset_bytes(each.dataset))) for each in made]


def test_every_text_is_said_in_the_character_set_of_the_result(results):
    for result in results:
        assert result.SpecificCharacterSet == UTF8
        assert result.PatientName == "Müller^Jörg"
        others = result.OtherPatientIDsSequence
        assert [each.IssuerOfPatientID for each in others] == ["病院", "北京医院", "Zürich"]
        (within,) = others[0].IssuerOfPatientIDQualifiersSequence
        assert within.AssigningFacilitySequence[0].LocalNamespaceEntityID == "東京"
        assert "東京".encode() in dataset_bytes(result)


def test_no_item_of_a_result_names_another_character_set(results):
    for result in results:
        named = [each.value for each in result.iterall() if each.keyword == "SpecificCharacterSet"]
        assert set(named) == {UTF8}


def test_what_was_asked_for_is_told_in_the_same_way(results):
    (report,) = (result for result in results if result.Modality == "SR")
    texts = {str(each.value) for each in report.iterall() if each.VR in ("LO", "SH", "UT")}
    assert {"頭部", "头部平扫"} <= texts

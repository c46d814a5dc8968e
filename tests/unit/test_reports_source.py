"""Whatever a source header holds, its repaired copy is valid, in UTF-8, and means the same."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from reports.part10 import dataset_bytes
from reports.source import repaired_sources


def header(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_missing_type_2_attributes_are_there_and_empty() -> None:
    first = repaired_sources([header()]).first
    assert first["PatientBirthDate"].value in (None, "")
    assert first["PatientName"].is_empty
    assert first["AccessionNumber"].is_empty


@pytest.mark.parametrize(
    ("keyword", "bad", "good"),
    [
        ("PatientSex", "female", ""),
        ("PatientSex", "f", "F"),
        ("PatientBirthDate", "1970.01.31", "19700131"),
        ("PatientBirthDate", "31/01/1970", ""),
        ("StudyTime", "12:34:56", "123456"),
        ("StudyTime", "99", ""),
        ("PatientID", "A" * 100, "A" * 64),
        ("PatientID", ["A", "B"], "A"),
        ("AccessionNumber", "12345678901234567890", "1234567890123456"),
        ("StudyDescription", "head\x00\x1b\nneck", "head   neck"),
        ("PatientAge", "57", ""),
        ("PatientName", "a^b^c^d^e^f^g=h=i=j", "a^b^c^d^e=h=i"),
        ("PatientWeight", "71.50000000000000", "71.5"),
        ("PatientSize", "1.7300000000000000001", "1.73"),
        ("PatientWeight", 200 / 3, "66.6666666666667"),
        ("SeriesNumber", "0000000000004", "4"),
        ("SeriesNumber", "99999999999", ""),
        ("TimezoneOffsetFromUTC", "+9999", ""),
        ("TimezoneOffsetFromUTC", "0100", ""),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_invalid_value_is_repaired_and_named_by_its_keyword(
    keyword: str, bad: object, good: str
) -> None:
    sources = repaired_sources([header(**{keyword: bad})])
    assert str(sources.first[keyword].value) == good
    assert sources.repairs == (keyword,)


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


CODE = {"CodeValue": "1", "CodingSchemeDesignator": "99SITE", "CodeMeaning": "One"}
REFERENCE = {"ReferencedSOPClassUID": "1.2", "ReferencedSOPInstanceUID": "2.25.9"}


@pytest.mark.parametrize(
    ("keyword", "whole", "broken"),
    [
        ("ProcedureCodeSequence", CODE, {"CodeValue": "1", "CodeMeaning": "One"}),
        ("AdmittingDiagnosesCodeSequence", {"URNCodeValue": "urn:1", "CodeMeaning": "One"}, {}),
        ("OtherPatientIDsSequence", {"PatientID": "7", "TypeOfPatientID": "RFID"}, {}),
        ("ReferencedStudySequence", REFERENCE, {"ReferencedSOPInstanceUID": "2.25.9"}),
        ("ReferringPhysicianIdentificationSequence",
         {"PersonIdentificationCodeSequence": [item(**CODE)], "InstitutionName": "A"},
         {"PersonIdentificationCodeSequence": [item(**CODE)]}),
    ],
)  # fmt: skip
def test_an_item_that_lacks_what_its_sequence_demands_is_left_out_and_named(
    keyword: str, whole: dict[str, object], broken: dict[str, object]
) -> None:
    both = repaired_sources([header(**{keyword: [item(**whole), item(**broken)]})])
    assert [dict(each.items()).keys() for each in both.first[keyword].value] == [
        item(**whole).keys()
    ]
    assert both.repairs == (keyword,)
    assert keyword not in repaired_sources([header(**{keyword: [item(**broken)]})]).first


def test_another_id_of_the_patient_without_a_type_is_a_text() -> None:
    sources = repaired_sources([header(OtherPatientIDsSequence=[item(PatientID="7")])])
    assert sources.first.OtherPatientIDsSequence[0].TypeOfPatientID == "TEXT"
    assert sources.repairs == ("OtherPatientIDsSequence.TypeOfPatientID",)


@pytest.mark.parametrize(
    ("stated", "demanded"),
    [
        ({"ClinicalTrialProtocolID": "P1"}, "ClinicalTrialSiteName"),
        ({"ClinicalTrialTimePointDescription": "baseline"}, "ClinicalTrialTimePointID"),
        ({"PatientSpeciesDescription": "Canine"}, "BreedRegistrationSequence"),
        ({"PatientIdentityRemoved": "YES"}, "DeidentificationMethod"),
    ],
)
def test_what_other_attributes_demand_is_there_and_named(stated, demanded) -> None:
    sources = repaired_sources([header(**stated)])
    assert demanded in sources.first
    assert demanded in sources.missing
    assert demanded not in repaired_sources([header()]).first


def test_nothing_of_animals_is_said_of_people() -> None:
    human = item(CodeValue="337915000", CodingSchemeDesignator="SCT", CodeMeaning="homo sapiens")
    first = repaired_sources([header(PatientSpeciesCodeSequence=[human])]).first
    assert "PatientBreedDescription" not in first


@pytest.mark.parametrize("through_a_file", [False, True])
@pytest.mark.parametrize(
    ("character_set", "keyword", "vr", "stated", "meant"),
    [
        (None, "PatientID", "OB", b"ID-7", "ID-7"),
        (None, "PatientName", "OB", b"Doe^John\0", "Doe^John"),
        ("ISO_IR 100", "PatientID", "OB", b"M\xfcller", "Müller"),
        ("ISO_IR 100", "PatientName", "OB", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
        ("ISO_IR 192", "PatientID", "OB", "Müller".encode(), "Müller"),
        ("GB18030", "PatientName", "OB", "王^小东".encode("gb18030"), "王^小东"),
        (["", "ISO 2022 IR 87"], "PatientName", "OB",
         b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        (None, "PatientID", "OB", b"A\\B", "A"),
        (None, "PatientSex", "OB", b"M ", "M"),
        (None, "PatientBirthDate", "LO", "19700131", "19700131"),
        (None, "PixelSpacing", "LO", ["0.5", "0.25"], "[0.5, 0.25]"),
        (None, "Rows", "LO", "512", "512"),
        (None, "Rows", "LO", "many", ""),
        (None, "Rows", "DS", "70000", ""),
        (None, "FrameOfReferenceUID", "OB", b"2.25.9", "2.25.9"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_value_of_the_wrong_representation_keeps_its_meaning(
    character_set, keyword, vr, stated, meant, through_a_file
) -> None:
    dataset = header()
    if character_set:
        dataset.SpecificCharacterSet = character_set
    dataset.add(DataElement(keyword, vr, stated))
    if through_a_file:
        dataset = dcmread(BytesIO(dataset_bytes(dataset)))
    sources = repaired_sources([dataset])
    assert str(sources.first[keyword].value) == meant
    assert sources.repairs == (keyword,)
    dataset_bytes(sources.first)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_nobody_knows_the_representation_of_is_decoded_as_the_data_set_says() -> None:
    dataset = header(SpecificCharacterSet="ISO_IR 100")
    dataset.add(DataElement("PatientID", "UN", b"M\xfcller"))
    sources = repaired_sources([dataset])
    assert sources.first.PatientID == "Müller"
    assert sources.repairs == ("PatientID",)


def test_a_sequence_that_is_none_is_left_out_and_named() -> None:
    dataset = header()
    dataset.add(DataElement("ProcedureCodeSequence", "OB", b"1234"))
    dataset.add(DataElement("PatientID", "SQ", [header()]))
    sources = repaired_sources([dataset])
    assert sources.first.get("ProcedureCodeSequence") is None
    assert sources.first.PatientID in (None, "")
    assert sorted(sources.repairs) == ["PatientID", "ProcedureCodeSequence"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_change_within_an_item_is_named_with_its_sequence() -> None:
    code, equipment = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C" * 20, "99SITE", "CT"
    equipment.SpecificCharacterSet = "ISO_IR 100"
    equipment.add(DataElement("LocalNamespaceEntityID", "OB", b"Z\xfcrich"))
    code.ContextIdentifier = "0042"
    sources = repaired_sources(
        [header(ProcedureCodeSequence=[code], IssuerOfAccessionNumberSequence=[equipment])]
    )
    assert sources.first.ProcedureCodeSequence[0].CodeValue == "C" * 16
    (issuer,) = sources.first.IssuerOfAccessionNumberSequence
    assert issuer.LocalNamespaceEntityID == "Zürich"
    assert "SpecificCharacterSet" not in issuer
    assert sources.repairs == (
        "IssuerOfAccessionNumberSequence.LocalNamespaceEntityID", "ProcedureCodeSequence.CodeValue",
    )  # fmt: skip


def test_an_item_is_read_in_the_character_set_around_it() -> None:
    equipment = Dataset()
    equipment.add(DataElement("LocalNamespaceEntityID", "OB", b"Z\xfcrich"))
    source = header(SpecificCharacterSet="ISO_IR 100", IssuerOfAccessionNumberSequence=[equipment])
    (issuer,) = repaired_sources([source]).first.IssuerOfAccessionNumberSequence
    assert issuer.LocalNamespaceEntityID == "Zürich"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_read_in_an_item_is_left_out_and_named() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99SITE", "CT"
    tag = Tag("PatientAge")
    code[tag] = RawDataElement(tag, "US", 3, b"123", 0, is_implicit_VR=False,
                               is_little_endian=True)  # fmt: skip
    sources = repaired_sources([header(ProcedureCodeSequence=[code])])
    assert sources.first.ProcedureCodeSequence[0].CodeMeaning == "CT"
    assert sources.repairs == ("ProcedureCodeSequence.PatientAge",)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", [b"x ", b"= ", b"1\\x ", b"1e999 "])
@pytest.mark.parametrize(("keyword", "vr"), [("WindowCenter", "DS"), ("InstanceNumber", "IS")])
def test_what_is_no_number_is_left_empty_and_named(keyword, vr, value) -> None:
    tag = Tag(keyword)
    data = header()
    data[tag] = RawDataElement(tag, vr, len(value), value, 0, is_implicit_VR=False,
                               is_little_endian=True)  # fmt: skip
    sources = repaired_sources([data])
    assert sources.repairs == (keyword,)
    assert "x" not in str(sources.first.get(keyword))
    sources.first.to_json()


def test_a_valid_header_needs_no_repair_and_loses_nothing() -> None:
    qualifier = Dataset()
    qualifier.UniversalEntityID = "2.25.9"
    qualifier.UniversalEntityIDType = "ISO"
    good = header(
        PatientName="Müller^Jörg", PatientID="7", IssuerOfPatientID="Hospital", PatientSex="M",
        PatientWeight="71.5", IssuerOfPatientIDQualifiersSequence=[qualifier],
    )  # fmt: skip
    sources = repaired_sources([good])
    assert sources.repairs == ()
    assert sources.first.IssuerOfPatientID == "Hospital"
    assert sources.first.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "2.25.9"
    assert sources.first.PatientWeight == 71.5


def test_private_attributes_are_left_behind() -> None:
    dataset = header()
    dataset.private_block(0x0011, "VENDOR", create=True).add_new(1, "LO", "secret")
    assert not [e for e in repaired_sources([dataset]).first if e.tag.is_private]


@pytest.mark.shared
def test_every_character_set_survives_as_utf_8(shared_data: Path) -> None:
    """In items, too, some of which have a character set of their own."""
    for path in sorted((shared_data / "dicom-pydicom/charset_files").glob("*.dcm")):
        source = dcmread(path, stop_before_pixels=True)
        said = str(
            source.get("PatientName") or source.RequestedProcedureCodeSequence[0].PatientName
        )
        assert said
        if "PatientName" not in source:
            source.IssuerOfPatientIDQualifiersSequence = source.RequestedProcedureCodeSequence
        first = repaired_sources([source]).first
        first.SOPClassUID, first.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.1"
        again = dcmread(BytesIO(dataset_bytes(first)))
        assert again.SpecificCharacterSet == "ISO_IR 192"
        items = again.get("IssuerOfPatientIDQualifiersSequence") or [again]
        assert str(items[0].PatientName) == said

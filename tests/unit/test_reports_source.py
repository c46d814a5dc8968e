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
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_invalid_value_is_repaired_and_named_by_its_keyword(
    keyword: str, bad: object, good: str
) -> None:
    sources = repaired_sources([header(**{keyword: bad})])
    assert str(sources.first[keyword].value) == good
    assert sources.repairs == (keyword,)


def test_a_value_of_the_wrong_representation_becomes_text() -> None:
    dataset = header()
    dataset.add(DataElement("PatientID", "UN", b"ID-7"))
    assert repaired_sources([dataset]).first.PatientID == "ID-7"


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
            source.OtherPatientIDsSequence = source.RequestedProcedureCodeSequence
        first = repaired_sources([source]).first
        first.SOPClassUID, first.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.1"
        again = dcmread(BytesIO(dataset_bytes(first)))
        assert again.SpecificCharacterSet == "ISO_IR 192"
        items = again.get("OtherPatientIDsSequence") or [again]
        assert str(items[0].PatientName) == said

"""The bytes of a result are those that pydicom writes, whoever puts them together."""

from io import BytesIO

import analyses
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, PseudoColorSoftcopyPresentationStateStorage

from dicom_node.domain.delivery import ResultKind
from dicom_node.testing.phantom import phantom
from reports import encoding
from reports.case import Case
from reports.part10 import dataset_bytes, file_parts
from reports.settings import ReportSettings
from reports.writer import WRITERS, write_results


def by_pydicom(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "settings",
    [
        ReportSettings(),
        ReportSettings(segmentation="LABELMAP", parametric_map="INTEGER", language="zh-Hans"),
        ReportSettings(segmentation="FRACTIONAL", language="de"),
    ],
    ids=lambda settings: settings.segmentation,
)
def test_every_kind_is_what_pydicom_writes(settings: ReportSettings) -> None:
    given = analyses.analysis(phantom(7, slices=4, size=64))
    named = analyses.with_text(given, {"PatientName": "山田^太郎=ヤマダ^タロウ"})
    for result in write_results(Case(named, settings), WRITERS):
        assert dataset_bytes(result.dataset) == by_pydicom(result.dataset), result.kind


@pytest.mark.parametrize("form", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_only_colour_tables_are_left_to_pydicom(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer takes ten times as long."""
    left: list[str] = []
    slowly = encoding._by_pydicom
    monkeypatch.setattr(encoding, "_by_pydicom", lambda d: left.append(d.SOPClassUID) or slowly(d))
    given = analyses.analysis(phantom(7, slices=4, size=64))
    for result in write_results(Case(given, ReportSettings(segmentation=form)), WRITERS):
        dataset_bytes(result.dataset)
    assert left == [PseudoColorSoftcopyPresentationStateStorage]


def result() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = EncapsulatedPDFStorage, "2.25.1"
    return dataset


def test_an_item_with_a_character_set_of_its_own_keeps_its_words() -> None:
    dataset, item = result(), Dataset()
    item.SpecificCharacterSet, item.RequestedProcedureDescription = "ISO_IR 100", "Schädel"
    dataset.RequestAttributesSequence = [item]
    assert dataset_bytes(dataset) == by_pydicom(dataset)


def test_values_whose_representation_depends_on_others_are_resolved() -> None:
    dataset = result()
    dataset.PixelRepresentation, dataset.PixelPaddingValue = 1, -2000
    read = dcmread(BytesIO(dataset_bytes(dataset)))
    assert (read.PixelPaddingValue, read["PixelPaddingValue"].VR) == (-2000, "SS")


def test_values_of_every_representation() -> None:
    dataset = result()
    dataset.update(
        {
            "PatientAge": "061Y", "PatientWeight": "71.5", "ImageComments": "",
            "PatientBirthDate": None, "OtherPatientNames": ["A^B", "C^D"], "InstanceNumber": 3,
            "FrameIncrementPointer": [0x00181063, 0x00181065], "PageNumberVector": [1, 2],
            "DimensionIndexPointer": 0x00200032, "DimensionIndexValues": [1, 70000],
            "RealWorldValueSlope": 0.1, "RetrieveURL": "http://a/b", "StrainCodeSequence": [],
            "RecommendedDisplayFrameRateInFloat": 1.5, "ReferencePixelX0": -4,
            "EncapsulatedDocument": b"odd", "ICCProfile": b"", "PixelSpacing": ["0.70", "0.7"],
            "TextValue": "Zeile\nZeile", "LongCodeValue": "x" * 70000,
        }
    )  # fmt: skip
    assert dataset_bytes(dataset) == by_pydicom(dataset)


def test_the_heat_map_is_shown_and_never_copied() -> None:
    given = analyses.analysis(phantom(7, slices=4, size=64))
    explanation = given.findings[0].explanation
    assert explanation is not None
    results = write_results(
        Case(given), [w for w in WRITERS if w.kind is ResultKind.PARAMETRIC_MAP]
    )
    parts = file_parts(results[0].dataset)
    assert np.shares_memory(np.frombuffer(parts[-1], "<f4"), explanation.saliency.values)

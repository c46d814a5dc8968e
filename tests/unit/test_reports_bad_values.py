"""Whatever values a source holds, every result of it is valid, and says what was changed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import analyses
import pytest
import sources
import validators
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis, ResultInstance
from reports.case import Case
from reports.outlines import OutlinesWriter
from reports.parametric_map import ParametricMapWriter
from reports.part10 import dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.writer import DEFAULT_WRITERS, ResultWriter, write_results

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

OF_PIXELS = (SegmentationWriter(), ParametricMapWriter(), OutlinesWriter())


@pytest.fixture
def errors(tmp_path: Path, tool: Callable[[str], str]) -> Callable[..., list[str]]:
    """What dciodvfy says of results."""
    tool("dciodvfy")

    def found(results: Sequence[ResultInstance]) -> list[str]:
        lines = []
        for number, result in enumerate(results):
            path = tmp_path / f"{result.kind}-{number}.dcm"
            path.write_bytes(dataset_bytes(result.dataset))
            lines += [f"{result.kind}: {line}" for line in validators.dciodvfy(path)]
        return lines

    return found


def written(given: Analysis, *writers: ResultWriter) -> tuple[Case, list[ResultInstance]]:
    case = Case(given)
    return case, write_results(case, writers)


def lengthened(planes: Sequence[Dataset], measures: Sequence[Dataset]) -> None:
    """Numbers of more than 16 characters, as some writers make them of floats."""
    for each in planes:
        each.ImagePositionPatient = [f"{float(v):.13f}" for v in each.ImagePositionPatient]
    for each in measures:
        each.PixelSpacing = [f"{float(v):.18f}" for v in each.PixelSpacing]
        each.SliceThickness = f"{float(each.SliceThickness):.17f}"


@pytest.mark.validators
def test_numbers_that_are_too_long_are_shortened_and_named(errors) -> None:
    given = analyses.analysis()
    headers = given.images.datasets
    lengthened(headers, headers)
    for header in headers:
        header.RescaleSlope, header.RescaleIntercept = "1.000000000000000000", "-1024.0000000000000"
        header.WindowCenter = "40.000000000000000"
        header.InstanceNumber = f"{int(header.InstanceNumber):015d}"
    case, results = written(given, *OF_PIXELS)
    assert errors(results) == []
    assert set(case.sources.repairs) == {
        "ImagePositionPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept", "WindowCenter", "InstanceNumber",
    }  # fmt: skip
    for header, stated in zip(case.sources.headers, headers, strict=True):
        assert header.InstanceNumber == stated.InstanceNumber
        assert header.PixelSpacing == stated.PixelSpacing
        assert header.ImagePositionPatient == pytest.approx(stated.ImagePositionPatient, abs=1e-9)


@pytest.mark.validators
def test_numbers_in_functional_groups_are_shortened_too(errors, tmp_path: Path) -> None:
    source = sources.enhanced(sources.body())
    given = source.analysis(tmp_path / "source", analyses.manifest())
    (image,) = given.images.datasets
    (shared,) = image.SharedFunctionalGroupsSequence
    groups = [*image.PerFrameFunctionalGroupsSequence, shared]
    lengthened(
        [g.PlanePositionSequence[0] for g in groups if "PlanePositionSequence" in g],
        [g.PixelMeasuresSequence[0] for g in groups if "PixelMeasuresSequence" in g],
    )
    _, results = written(given, *OF_PIXELS)
    assert errors(results) == []


@pytest.mark.validators
def test_values_of_the_wrong_representation_make_valid_results(errors) -> None:
    given = analyses.analysis()
    for header in given.images.datasets:
        header.SpecificCharacterSet = "ISO_IR 100"
        header.add(DataElement("PatientName", "OB", "Müller^Jörg".encode("latin-1")))
        header.add(DataElement("PatientID", "UN", b"K\xf6ln 7"))
        header.add(
            DataElement("ImagePositionPatient", "LO", [*map(str, header.ImagePositionPatient)])
        )
        header.add(DataElement("PositionReferenceIndicator", "UT", "x" * 100))
        header.add(DataElement("InstanceNumber", "UN", b"1.5"))
    case, results = written(given, *DEFAULT_WRITERS)
    assert errors(results) == []
    assert {str(result.dataset.PatientName) for result in results} == {"Müller^Jörg"}
    assert {result.dataset.PatientID for result in results} == {"Köln 7"}
    assert set(case.sources.repairs) == {
        "PatientName", "PatientID", "ImagePositionPatient", "PositionReferenceIndicator",
        "InstanceNumber",
    }  # fmt: skip

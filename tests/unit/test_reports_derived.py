"""A picture that a model made stands beside its source: the same place, scale and window."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import analyses
import numpy as np
import pytest
import validators
from PIL import Image
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.concepts import DERIVED_IMAGE, MEAN_CHANGE
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Estimate, Measurement
from dicom_node.domain.prediction import DerivedImages
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.derived_images import DerivedImagesWriter
from reports.html import report_html
from reports.part10 import dataset_bytes
from reports.pictures import PANEL
from reports.secondary_capture import SecondaryCaptureWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import write_results

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

NAME = "AI denoised"
OUTPUT = {
    "kind": "image",
    "layer": "denoised",
    "derivation": {"value": "113087", "scheme": "DCM", "meaning": "Smoothing"},
    "description": NAME,
}
FRAME = 2
WRITTEN = (DerivedImagesWriter(), StructuredReportWriter())


def made(derived: DerivedImages | None = None, **attributes: object) -> Analysis:
    """Of a model that gives each image back as it is, or as ``derived``."""
    source = phantom(7, lesions=1, slices=5, size=64)
    given = analyses.analysis(source, analyses.study(source, attributes=attributes))
    same = DerivedImages(given.images.pixels, (1.0, 1.0), (0.0, 0.0))
    change = Measurement(MEAN_CHANGE, 0.0, Code("[hnsf'U]", "UCUM", "Hounsfield unit"))
    code = Code("113087", "DCM", "Smoothing")
    said = Estimate(NAME, code, DERIVED_IMAGE, FRAME, "image", "2.25.9", (change,))
    return replace(
        given,
        manifest=analyses.manifest(outputs=[OUTPUT], explanation={"method": "none"}),
        prediction=replace(given.prediction, derived=derived or same),
        findings=(),
        segments=(),
        estimates=(said,),
    )


def test_the_sr_points_at_the_image_and_names_our_codes() -> None:
    image, report = (
        [r.dataset for r in write_results(Case(made()), WRITTEN) if r.kind is kind]
        for kind in (ResultKind.DERIVED_IMAGE, ResultKind.STRUCTURED_REPORT)
    )
    (scheme,) = report[0].CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == DERIVED_IMAGE.scheme_designator
    group = report[0].ContentSequence[-2].ContentSequence[0]
    (item,) = (i for i in group.ContentSequence if i.ConceptNameCodeSequence[0] == DERIVED_IMAGE)
    (reference,) = item.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == image[FRAME].SOPInstanceUID


def test_what_counts_in_pixels_of_the_source_is_not_said_of_another_grid() -> None:
    coarse = DerivedImages(np.zeros((5, 32, 32), np.float32), (2.0, 2.0), (0.5, 0.5))
    given = made(coarse, ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=9)
    (image, *_) = DerivedImagesWriter().write(Case(given), ())
    assert not [e.keyword for e in image.dataset if e.keyword.startswith("Shutter")]


def middle(image: Image.Image) -> np.ndarray:
    """Without the marks at the edges."""
    rows, columns = np.asarray(image).shape[:2]
    return np.asarray(image)[rows // 4 : -rows // 4, columns // 4 : -columns // 4].astype(int)


def test_the_same_numbers_give_the_same_picture() -> None:
    (picture,) = Case(made()).pictures
    assert picture.derived is not None
    assert picture.derived.size == picture.outlined.size
    assert (middle(picture.derived) == middle(picture.outlined)).all()


@pytest.mark.parametrize("window", [{}, {"WindowCenter": None, "WindowWidth": None}])
def test_what_is_brighter_by_much_looks_brighter_in_the_window_of_the_source(window) -> None:
    given = made(**window)
    lighter = DerivedImages(given.images.pixels + 100, (1.0, 1.0), (0.0, 0.0))
    (picture,) = Case(made(lighter, **window)).pictures
    assert (middle(picture.derived) - middle(picture.outlined)).mean() > 10


def test_a_finer_grid_lies_in_the_same_place() -> None:
    given = made()
    fine = np.repeat(np.repeat(given.images.pixels, 2, axis=1), 2, axis=2)
    (picture,) = Case(made(DerivedImages(fine, (0.5, 0.5), (-0.25, -0.25)))).pictures
    assert np.abs(middle(picture.derived) - middle(picture.outlined)).mean() < 6


def test_a_part_of_the_source_lies_in_its_place_and_the_rest_is_black() -> None:
    given = made()
    part = DerivedImages(given.images.pixels[:, 24:, 16:48], (1.0, 1.0), (24.0, 16.0))
    (picture,) = Case(made(part)).pictures
    shown, source = (np.asarray(each).astype(int) for each in (picture.derived, picture.outlined))
    size = shown.shape[0] / 64
    first, last = round(30 * size), round(36 * size)
    inside = shown[first:last, first:last] - source[first:last, first:last]
    assert np.abs(inside).max() <= 3
    assert shown[round(18 * size) : round(23 * size), first:last].max() == 0


def test_page_and_capture_name_the_series_and_warn_of_it() -> None:
    case = Case(made())
    (image, *_) = DerivedImagesWriter().write(case, [])
    page = report_html(case)
    series = f"series {image.dataset.SeriesNumber}, {image.dataset.SeriesDescription}"
    assert f"Derived image, in the same window: {series}" in page
    assert "it may hide what is there, or show what is not" in page
    assert page.count("<img ") == 2
    (capture,) = SecondaryCaptureWriter().write(case, [])
    assert capture.dataset.Columns == 2 * PANEL
    assert "The derived image beside its source" in capture.dataset.DerivationDescription


def test_a_model_that_makes_no_pictures_shows_none() -> None:
    assert [picture.derived for picture in Case(analyses.analysis()).pictures] == [None]


def test_an_image_whose_low_values_are_bright_stays_so() -> None:
    """MONOCHROME1 of the source: the derived pixels are in its units."""
    given = made(PhotometricInterpretation="MONOCHROME1")
    (image, *_) = DerivedImagesWriter().write(Case(given), [])
    assert image.dataset.PhotometricInterpretation == "MONOCHROME1"
    (picture,) = Case(given).pictures
    assert (middle(picture.derived) == middle(picture.outlined)).all()


@pytest.mark.validators
def test_what_is_wrong_in_a_source_is_right_in_the_image_derived_from_it(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    tool("dciodvfy")
    wrong = {
        "ProtocolName": "P" * 80, "StationName": "S" * 30, "ScanOptions": "helical mode",
        "AcquisitionDate": "2026.03.14", "KVP": "120.00000000000000001",
        "ImageOrientationPatient": ["0.999", "0", "0", "0", "0.999", "0"],
        "SliceThickness": "5.0000000000000000001", "RescaleSlope": "1.0000000000000000",
        "PatientName": "a^b^c^d^e^f",
    }  # fmt: skip
    case = Case(made(**wrong))
    (image, *_) = DerivedImagesWriter().write(case, [])
    path = tmp_path / "image.dcm"
    path.write_bytes(dataset_bytes(image.dataset))
    assert validators.dciodvfy(path) == []
    derived = image.dataset
    assert (derived.ProtocolName, derived.ScanOptions) == ("P" * 64, "HELICAL MODE")
    assert (derived.AcquisitionDate, derived.KVP) == ("20260314", 120)
    assert derived.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert {*wrong} == {*case.sources.repairs}


def test_a_kind_of_image_in_one_word_is_no_list_of_letters() -> None:
    (image, *_) = DerivedImagesWriter().write(Case(made(ImageType="ORIGINAL")), [])
    assert image.dataset.ImageType == ["DERIVED", "SECONDARY"]

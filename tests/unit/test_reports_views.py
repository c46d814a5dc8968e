"""What is made of several views says of them what is true of all, and of each what is its own."""

from dataclasses import replace
from io import BytesIO

import analyses
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.images import FrameReference
from reports.case import Case
from reports.outlines import OutlinesWriter
from reports.part10 import dataset_bytes
from reports.presentation import present
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import ResultWriter, write_results

FRONT = {"PatientOrientation": ["A", "R"], "ImageLaterality": "L", "LossyImageCompression": "00"}
LOSSY = {"LossyImageCompressionRatio": "8", "LossyImageCompressionMethod": "ISO_15444_1"}
SIDE = {"PatientOrientation": ["A", "FR"], "ImageLaterality": "L", "LossyImageCompression": "01"}
GEOMETRY = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
SHUTTER = {
    "ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 9, "ShutterRightVerticalEdge": 120,
    "ShutterUpperHorizontalEdge": 8, "ShutterLowerHorizontalEdge": 121,
}  # fmt: skip


@pytest.fixture(scope="module")
def volume() -> Analysis:
    return analyses.analysis(explained=False)


def views(volume: Analysis, *stated: dict[str, object]) -> Analysis:
    """Two mammograms with one lesion, that state this."""
    headers = []
    for header, attributes in zip(volume.images.datasets, stated, strict=False):
        view = Dataset({element.tag: element for element in header})
        for keyword in GEOMETRY:
            delattr(view, keyword)
        view.SOPClassUID, view.Modality = "1.2.840.10008.5.1.4.1.1.1.2", "MG"
        for keyword, value in attributes.items():
            setattr(view, keyword, value)
        headers.append(view)
    references = [FrameReference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers]
    mask = np.repeat(volume.segments[0].mask.any(axis=0)[None], len(headers), axis=0)
    images = replace(
        volume.images, datasets=tuple(headers), frames=tuple(references),
        pixels=volume.images.pixels[: len(headers)], affine=None,
    )  # fmt: skip
    segment = replace(volume.segments[0], mask=mask)
    finding = replace(volume.findings[0], frame=0, segment=segment)
    return replace(volume, images=images, segments=(segment,), findings=(finding,))


def written(given: Analysis, *writers: ResultWriter) -> Dataset:
    """What the last writer wrote."""
    return dcmread(BytesIO(dataset_bytes(write_results(Case(given), writers)[-1].dataset)))


def test_a_seg_of_views_has_no_orientation_of_one_and_the_loss_of_any(volume: Analysis) -> None:
    seg = written(views(volume, FRONT, {**SIDE, **LOSSY}), SegmentationWriter())
    assert seg["PatientOrientation"].is_empty
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 8)
    assert seg.LossyImageCompressionMethod == "ISO_15444_1"
    alike = written(views(volume, FRONT, FRONT), SegmentationWriter())
    assert list(alike.PatientOrientation) == ["A", "R"]
    assert alike.LossyImageCompression == "00"


def test_the_side_of_all_images_is_that_of_a_series(volume: Analysis) -> None:
    state = written(views(volume, FRONT, SIDE), OutlinesWriter())
    assert state.Laterality == "L"
    both = written(views(volume, FRONT, {**SIDE, "ImageLaterality": "R"}), OutlinesWriter())
    assert both["Laterality"].is_empty


def test_the_image_library_tells_the_view_of_each(volume: Analysis) -> None:
    report = written(views(volume, FRONT, SIDE), StructuredReportWriter())
    names = {"Image Laterality", "Patient Orientation Row", "Patient Orientation Column"}
    library = next(i for i in report.ContentSequence if _name(i) == "Image Library")
    images = [i for i in library.ContentSequence[0].ContentSequence if i.ValueType == "IMAGE"]
    told = [[_value(i) for i in image.ContentSequence if _name(i) in names] for image in images]
    assert told == [["Left", "A", "R"], ["Left", "A", "FR"]]


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _value(item: Dataset) -> str:
    return str(item.get("TextValue") or item.ConceptCodeSequence[0].CodeMeaning)


def test_what_a_shutter_hides_stays_hidden(volume: Analysis) -> None:
    state = written(views(volume, SHUTTER, SHUTTER), OutlinesWriter())
    assert {keyword: state.get(keyword) for keyword in SHUTTER} == SHUTTER
    assert state.ShutterPresentationValue == 0
    other = {**SHUTTER, "ShutterLeftVerticalEdge": 1}
    assert "ShutterShape" not in written(views(volume, SHUTTER, other), OutlinesWriter())
    half = {"ShutterShape": "CIRCULAR", "RadiusOfCircularShutter": 60}
    assert "ShutterShape" not in written(views(volume, half, half), OutlinesWriter())


def test_pixels_that_are_not_square_are_shown_as_they_are(volume: Analysis) -> None:
    given = views(volume, {"PixelAspectRatio": [2, 1]})
    header = given.images.datasets[0]
    del header.PixelSpacing
    case, state = Case(given), Dataset()
    present(state, case, OutlinesWriter().kind, "LABEL", header=case.header(0))
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.PresentationPixelAspectRatio == [2000, 1000]

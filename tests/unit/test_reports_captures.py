"""Secondary Capture and Encapsulated PDF: what a PACS without AI objects still shows."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import analyses
import numpy as np
import pytest
import validators
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.images import FrameReference
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.encapsulated_pdf import EncapsulatedPdfWriter
from reports.language import speaking
from reports.marks import PAPER
from reports.part10 import dataset_bytes
from reports.pictures import PANEL_TYPE
from reports.secondary_capture import SecondaryCaptureWriter, captured
from reports.segmentation import SegmentationWriter
from reports.settings import Language, ReportSettings
from reports.structured_report import StructuredReportWriter
from reports.writer import ResultWriter, write_results


def written(given: Analysis, writer: ResultWriter) -> list[Dataset]:
    results = write_results(Case(given), (writer,))
    return [dcmread(BytesIO(dataset_bytes(result.dataset))) for result in results]


def test_a_capture_shows_the_panel_and_tells_its_source() -> None:
    given = analyses.analysis()
    (capture,) = written(given, SecondaryCaptureWriter())
    panel = Case(given).pictures[0].panel
    assert (capture.pixel_array == np.asarray(panel)).all()
    assert (capture.ConversionType, capture.BurnedInAnnotation) == ("SYN", "YES")
    assert capture.RecognizableVisualFeatures == "NO"
    assert list(capture.PatientOrientation) == ["L", "P"]
    assert "phantom-lesion@1.2.0" in capture.DerivationDescription
    (source,) = capture.SourceImageSequence
    key = given.images.frames[given.findings[0].frame]
    assert source.ReferencedSOPInstanceUID == key.sop_instance_uid
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_captures_of_one_run_are_one_series_numbered_as_in_the_report() -> None:
    captures = written(
        analyses.analysis(phantom(7, lesions=2, slices=24, size=96)), SecondaryCaptureWriter()
    )
    assert [capture.InstanceNumber for capture in captures] == [1, 2]
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1


@pytest.mark.validators
def test_many_key_slices_are_the_frames_of_one_image(tmp_path: Path, tool: validators.Tool) -> None:
    tool("dciodvfy")
    given = _many(6)
    case = Case(given)
    (result,) = write_results(case, (SecondaryCaptureWriter(),))
    path = tmp_path / "capture.dcm"
    path.write_bytes(dataset_bytes(result.dataset))
    assert validators.dciodvfy(path) == []
    capture = dcmread(path)
    assert capture.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert capture.pixel_array.shape[0] == capture.NumberOfFrames == 6
    for frame, picture in zip(capture.pixel_array, case.pictures, strict=True):
        panel = np.asarray(picture.panel)
        assert (frame[: panel.shape[0], : panel.shape[1]] == panel).all()
    assert captured(case, given.findings[4]) == [
        (capture.SOPInstanceUID, 1 + [k.frame for k in case.key_slices].index(4))
    ]


def _many(count: int) -> Analysis:
    """A finding in each of the first slices."""
    given = analyses.analysis()
    findings = [
        replace(given.findings[0], frame=frame, probability=0.5 + frame / 100, segment=None)
        for frame in range(count)
    ]
    return replace(given, findings=tuple(findings))


def test_an_absent_target_has_its_capture_too() -> None:
    (capture,) = written(
        analyses.analysis(phantom(7, lesions=0, slices=12, size=96)), SecondaryCaptureWriter()
    )
    assert "image 7" in capture.ImageComments


@pytest.mark.parametrize("lesions", [0, 1])
def test_a_picture_without_heat_is_not_called_one_of_a_map(lesions: int) -> None:
    given = analyses.analysis(phantom(7, lesions=lesions, slices=12, size=96))
    results = write_results(Case(given), (SecondaryCaptureWriter(), StructuredReportWriter()))
    capture, report = (result.dataset for result in results)
    shown = "Gradient-weighted class activation" in capture.DerivationDescription
    named = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in report.ContentSequence[-2].ContentSequence
        for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "130401"
    ]
    assert (shown, named) == ((True, [capture.SOPInstanceUID]) if lesions else (False, []))


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_long_name_does_not_push_the_answer_out_of_the_picture(language: Language) -> None:
    given = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    (finding,) = given.findings
    name = "Malignant epithelial neoplasm of the upper part of the trunk"
    code = finding.target.finding.model_copy(update={"meaning": name})
    target = finding.target.model_copy(update={"finding": code})
    case = Case(analyses.with_finding(given, target=target), ReportSettings(language=language))
    with speaking(language):
        panel = np.asarray(case.pictures[0].panel)
    top = panel[round(PANEL_TYPE.size * 1.9) :][: PANEL_TYPE.size * 3]
    assert (top[:, -PANEL_TYPE.pad :] == PAPER).all()
    assert (top != PAPER).any()


def test_a_lossy_source_makes_a_lossy_capture() -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9.5"}
    (capture,) = written(analyses.with_text(analyses.analysis(), lossy), SecondaryCaptureWriter())
    assert (capture.LossyImageCompression, capture.LossyImageCompressionRatio) == ("01", 9.5)


def test_the_pdf_is_whole_and_tells_its_sources() -> None:
    given = analyses.analysis()
    (document,) = written(given, EncapsulatedPdfWriter())
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-1.7")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.VerificationFlag == "UNVERIFIED"
    assert "not for diagnostic use" in document.DocumentTitle
    sources = {item.ReferencedSOPInstanceUID for item in document.SourceInstanceSequence}
    assert sources == {frame.sop_instance_uid for frame in given.images.frames}


@pytest.mark.shared
@pytest.mark.validators
def test_a_projection_image_without_a_frame_of_reference_has_all_its_results(
    shared_data: Path, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy"), tool("dcentvfy")
    source = dcmread(shared_data / "dicom-highdicom/dx_image.dcm")
    source.PixelData += b"\0"  # the file leaves the padding out, which dcentvfy cannot read
    source.save_as(path := tmp_path / "source.dcm")
    given = _projection(source)
    results = write_results(Case(given))
    assert len(results) == 5
    paths = []
    for number, result in enumerate(results):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(dataset_bytes(result.dataset))
        assert validators.dciodvfy(paths[-1]) == []
    assert validators.dcentvfy([path, *paths]) == []


def _projection(source: Dataset) -> Analysis:
    """A finding in one projection image."""
    pixels = source.pixel_array.astype(np.float32)[None]
    mask = np.zeros(pixels.shape, bool)
    mask[0, 40:80, 60:90] = True
    del source.PixelData
    given = analyses.analysis()
    reference = FrameReference(str(source.SOPClassUID), str(source.SOPInstanceUID))
    images = replace(
        given.images, datasets=(source,), frames=(reference,), pixels=pixels, affine=None
    )
    segment = replace(given.segments[0], mask=mask)
    provenance = replace(given.provenance, study_instance_uid=str(source.StudyInstanceUID))
    finding = replace(given.findings[0], frame=0, segment=segment, explanation=None)
    return replace(
        given, images=images, segments=(segment,), findings=(finding,), provenance=provenance
    )


def test_a_projection_seg_says_where_left_is() -> None:
    given = analyses.analysis()
    header = given.images.datasets[0]
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(header, keyword)
    header.SOPClassUID, header.PatientOrientation = "1.2.840.10008.5.1.4.1.1.1", ["L", "F"]
    (segmentation,) = written(_projection_of(given, header), SegmentationWriter())
    assert list(segmentation.PatientOrientation) == ["L", "F"]


def _projection_of(given: Analysis, header: Dataset) -> Analysis:
    mask = given.segments[0].mask.any(axis=0)[None]
    reference = FrameReference(str(header.SOPClassUID), str(header.SOPInstanceUID))
    images = replace(given.images, datasets=(header,), frames=(reference,), affine=None)
    segment, finding = replace(given.segments[0], mask=mask), replace(given.findings[0], frame=0)
    return replace(given, images=images, segments=(segment,), findings=(finding,))

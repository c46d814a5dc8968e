"""The SR says of every target whether it is there, how sure, where, by whom and why."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import analyses
import highdicom as hd
import numpy as np
import pytest
import sources
import validators
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import save_study
from reports.case import Case
from reports.parametric_map import ParametricMapWriter
from reports.part10 import dataset_bytes
from reports.secondary_capture import SecondaryCaptureWriter
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import ResultWriter, write_results
from workers.volume import read_views

WRITERS: tuple[ResultWriter, ...] = (
    SegmentationWriter(),
    ParametricMapWriter(),
    SecondaryCaptureWriter(),
    StructuredReportWriter(),
)


def document(given: Analysis, writers: tuple[ResultWriter, ...] = WRITERS) -> Dataset:
    report = write_results(Case(given), writers)[-1]
    assert report.kind is ResultKind.STRUCTURED_REPORT
    return hd.sr.srread(BytesIO(dataset_bytes(report.dataset)))


def groups(report: Dataset) -> list[Dataset]:
    container = next(i for i in report.ContentSequence if meaning(i) == "Imaging Measurements")
    return list(container.ContentSequence)


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def children(item: Dataset, name: str) -> list[Dataset]:
    return [child for child in item.ContentSequence if meaning(child) == name]


def coded(item: Dataset, name: str) -> str:
    (child,) = children(item, name)
    return str(child.ConceptCodeSequence[0].CodeMeaning)


def number(item: Dataset, name: str) -> float:
    (child,) = children(item, name)
    return float(child.MeasuredValueSequence[0].NumericValue)


def test_a_finished_analysis_says_so_in_a_code() -> None:
    """As an answer in place of a result says Not Attempted or Failed (CID 6042)."""
    report = document(analyses.analysis(phantom(7, lesions=0, slices=12, size=64)))
    (remarks,) = children(report, "Qualitative Evaluations")
    assert coded(remarks, "Summary of Analyses") == "Succeeded"


def test_a_present_finding_refers_to_its_segment_and_its_map() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    results = write_results(Case(given), WRITERS)
    segmentation, first_map, _, first_capture = (result.dataset for result in results[:4])
    report = document(given).content
    assert isinstance(report, hd.sr.MeasurementReport)
    found = report.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in found] == [f.tracking_uid for f in given.findings]
    reference = found[1].referenced_segment[0]
    assert reference.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    assert reference.referenced_segment_numbers == [2]
    images = found[0][0].ContentSequence.find(codes.DCM.VisualExplanation)
    shown = [image.referenced_sop_instance_uid for image in images]
    assert shown == [first_map.SOPInstanceUID, first_capture.SOPInstanceUID]
    for image in images:
        assert image.ContentSequence[0].value == codes.DCM.GradientWeightedClassActivation


def test_a_present_finding_has_its_answer_probability_and_measurements() -> None:
    (group,) = groups(document(analyses.analysis()))
    assert coded(group, "Finding") == "Lesion"
    assert coded(group, "Finding category") == "Morphologically Abnormal Structure"
    assert coded(group, "Finding Site") == "Trunk"
    assert coded(group, "Presence of property") == "Present"
    assert number(group, "Probability") == 92.3
    assert number(group, "Long axis") == 27.4
    parameters = [item.TextValue for item in children(group, "Algorithm Parameters")]
    assert "operating_threshold=0.5" in parameters
    assert f"bundle_sha256={'b0' * 32}" in parameters
    (text,) = children(group, "Comment")
    assert "inside segment 1" in text.TextValue
    assert coded(group, "Trust in visual explanation").endswith("passed its checks")


def test_a_present_finding_says_where_its_centre_is() -> None:
    given = analyses.analysis()
    (group,) = groups(document(given))
    (point,) = children(group, "Center")
    truth = np.argwhere(given.segments[0].mask).mean(axis=0)
    assert list(point.GraphicData) == pytest.approx(given.images.to_patient(truth), abs=1e-3)
    assert point.ReferencedFrameOfReferenceUID == "2.25.1003"


def test_a_probability_states_its_calibration_and_its_operating_point() -> None:
    (group,) = groups(document(analyses.analysis()))
    (probability,) = children(group, "Probability")
    (comment,) = children(probability, "Comment")
    assert "T = 1.3" in comment.TextValue
    assert "50 %" in comment.TextValue


CURVE = ((0.0, 0.1), (0.5, 0.4), (1.0, 0.9))
CALIBRATIONS = [
    (1.0, (), "Not calibrated: the probability is the model's own.", "none"),
    (1.0391, (), "temperature scaling with T = 1.0391.", "temperature scaling, T=1.0391"),
    (1.0, CURVE, "by isotonic regression (a curve of 3", "isotonic regression, 3 points"),
    (1.3, CURVE, "with T = 1.3, then by isotonic regression (a curve of 3",
     "temperature scaling, T=1.3, then isotonic regression, 3 points"),
]  # fmt: skip


@pytest.mark.parametrize(("temperature", "curve", "text", "parameter"), CALIBRATIONS)
def test_a_calibration_is_stated_as_it_was_made(
    temperature: float, curve: tuple[tuple[float, float], ...], text: str, parameter: str
) -> None:
    given = analyses.analysis(phantom(7, slices=3, size=64))
    changes = {"temperature": temperature, "isotonic": curve}
    target = given.findings[0].target.model_copy(update=changes)
    (group,) = groups(document(analyses.with_finding(given, target=target)))
    (comment,) = children(children(group, "Probability")[0], "Comment")
    assert text in comment.TextValue
    assert ("temperature" in comment.TextValue) == (temperature != 1)
    stated = [item.TextValue for item in children(group, "Algorithm Parameters")]
    assert f"calibration={parameter}" in stated


@pytest.mark.parametrize(
    ("probability", "threshold", "stated"),
    [
        (0.9234, 0.5, 92.3), (0.99996, 0.5, 99.996), (0.0000421, 0.5, 0.004), (1.0, 0.5, 100),
        (0.0, 0.5, 0), (0.49996, 0.5, 49.996), (0.50004, 0.5, 50.0), (0.29999, 0.3, 29.999),
    ],
)  # fmt: skip
def test_a_probability_is_never_rounded_to_certainty_nor_over_its_threshold(
    probability: float, threshold: float, stated: float
) -> None:
    given = analyses.analysis(phantom(7, slices=3, size=64))
    target = given.findings[0].target.model_copy(update={"threshold": threshold})
    sure = analyses.with_finding(given, probability=probability, target=target)
    (group,) = groups(document(sure))
    assert number(group, "Probability") == stated


@pytest.mark.parametrize(
    ("model", "image", "side"),
    [("Left", None, "Left"), (None, "R", "Right"), ("Left", "R", "Left")],
)
def test_a_site_has_its_side(model: str | None, image: str | None, side: str) -> None:
    given = analyses.analysis()
    target = given.findings[0].target
    laterality = {"value": "7771000", "scheme": "SCT", "meaning": model} if model else None
    changed = type(target).model_validate(target.model_dump() | {"laterality": laterality})
    sided = analyses.with_finding(given, target=changed)
    (group,) = groups(document(analyses.with_text(sided, {"ImageLaterality": image})))
    (site,) = children(group, "Finding Site")
    assert coded(site, "Laterality") == side


def test_a_segment_of_a_single_image_is_a_planar_group_that_names_its_frame() -> None:
    given = analyses.analysis()
    frame = given.findings[0].frame
    mask = given.segments[0].mask[[frame]]
    segment = replace(given.segments[0], mask=mask)
    explanation = replace(
        given.findings[0].explanation,
        region=None,
        saliency=replace(
            given.findings[0].explanation.saliency,
            values=given.findings[0].explanation.saliency.values[[frame]],
        ),
    )
    images = replace(
        given.images,
        datasets=given.images.datasets[frame : frame + 1],
        frames=given.images.frames[frame : frame + 1],
        pixels=given.images.pixels[[frame]],
    )
    single = replace(given, images=images, segments=(segment,))
    report = document(
        analyses.with_finding(single, segment=segment, frame=0, explanation=explanation)
    )
    (group,) = report.content.get_planar_roi_measurement_groups()
    assert group.referenced_segmentation_frame.referenced_frame_numbers == [1]
    (source,) = children(groups(report)[0], "Source Image for Segmentation")
    there = source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert there == images.frames[0].sop_instance_uid


@pytest.mark.parametrize(
    ("form", "sop_class"),
    [
        (ResultKind.FLAT_REPORT, ComprehensiveSRStorage),
        (ResultKind.ENHANCED_REPORT, EnhancedSRStorage),
    ],
)
def test_a_flat_report_says_the_same_without_coordinates_in_the_patient(
    form: ResultKind, sop_class: str
) -> None:
    given = analyses.analysis()
    writers = (*WRITERS, StructuredReportWriter(form))
    spatial, flat = (r.dataset for r in write_results(Case(given), writers)[-2:])
    assert flat.SOPClassUID == sop_class
    assert flat.SOPInstanceUID != spatial.SOPInstanceUID
    assert flat.SeriesInstanceUID != spatial.SeriesInstanceUID
    (group,) = groups(flat)
    (point,) = children(group, "Center")
    assert point.ValueType == "SCOORD"
    frame, row, column = np.argwhere(given.segments[0].mask).mean(axis=0)
    assert list(point.GraphicData) == pytest.approx([column + 0.5, row + 0.5])
    (image,) = point.ContentSequence
    there = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert there == given.images.frames[round(frame)].sop_instance_uid
    assert coded(group, "Presence of property") == "Present"


def test_an_absent_target_is_written_as_absent() -> None:
    given = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    (group,) = groups(document(given))
    assert coded(group, "Finding") == "Lesion"
    assert coded(group, "Presence of property") == "Absent"
    assert number(group, "Probability") == 8.1
    assert "No localised evidence" in children(group, "Comment")[0].TextValue


def test_a_finding_without_a_seg_is_one_of_its_key_image() -> None:
    given = analyses.with_finding(analyses.analysis(), presence=Presence.UNDETERMINED)
    (group,) = groups(document(given, (StructuredReportWriter(),)))
    assert coded(group, "Presence of property") == "Undetermined"
    (image,) = children(group, "Source of Measurement")
    key = given.images.frames[given.findings[0].frame]
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == key.sop_instance_uid
    assert children(group, "Visual explanation") == []


def test_everything_is_listed_as_evidence() -> None:
    given = analyses.analysis()
    results = write_results(Case(given), WRITERS)
    listed = {
        reference.ReferencedSOPInstanceUID
        for study in results[-1].dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    expected = {frame.sop_instance_uid for frame in given.images.frames}
    assert listed == expected | {r.dataset.SOPInstanceUID for r in results[:-1]}


def test_the_document_is_complete_unverified_and_says_that_it_is_not_for_diagnosis() -> None:
    report = document(analyses.analysis())
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    remarks = next(i for i in report.ContentSequence if meaning(i) == "Qualitative Evaluations")
    texts = [item.TextValue for item in children(remarks, "Comment")]
    assert "not for diagnostic use" in texts[0]
    assert texts[1] == "Lesion present, probability 92%."
    assert any("Series 1.2.3.4 not read" in text for text in texts)


def test_the_device_is_the_same_for_the_same_bytes_of_a_model() -> None:
    given = analyses.analysis()
    provenance = given.provenance

    def device(**changes: object) -> str:
        report = document(replace(given, provenance=replace(provenance, **changes)))
        observer = [i for i in report.ContentSequence if meaning(i) == "Device Observer UID"]
        return str(observer[0].UID)

    assert device() == device(generation=2, input_sha256="9" * 64)
    assert device() != device(bundle_sha256="d" * 64)


def test_the_library_holds_every_image_with_its_position() -> None:
    given = analyses.analysis()
    report = document(given)
    library = next(i for i in report.ContentSequence if meaning(i) == "Image Library")
    (group,) = library.ContentSequence
    assert coded(group, "Modality") == "Computed Tomography"
    entries = children(group, "Source")
    assert [e.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for e in entries] == [
        frame.sop_instance_uid for frame in given.images.frames
    ]
    assert number(entries[3], "Image Position (Patient) Z") == 15.0


@pytest.mark.validators
@pytest.mark.parametrize("kind", ["enhanced CT", "enhanced MR", "US cine", "MG"])
def test_the_library_holds_every_frame_that_has_a_position(
    kind: str, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy")
    given = sources.KINDS[kind](sources.body()).analysis(tmp_path / "study", analyses.manifest())
    (result,) = StructuredReportWriter().write(Case(given), ())
    library = next(i for i in result.dataset.ContentSequence if meaning(i) == "Image Library")
    entries = children(library.ContentSequence[0], "Source")
    named = [
        (r.ReferencedSOPInstanceUID, r.get("ReferencedFrameNumber"))
        for r in (entry.ReferencedSOPSequence[0] for entry in entries)
    ]
    frames = given.images.frames
    if kind.startswith("enhanced"):
        assert named == [(f.sop_instance_uid, f.frame_number) for f in frames]
        for n, entry in enumerate(entries):
            place = [number(entry, f"Image Position (Patient) {axis}") for axis in "XYZ"]
            assert place == pytest.approx(given.images.to_patient((n, 0, 0)), abs=1e-3)
    else:
        assert named == [(uid, None) for uid in dict.fromkeys(f.sop_instance_uid for f in frames)]
        told = [meaning(item) for each in entries for item in each.get("ContentSequence", ())]
        assert not [name for name in told if "Position" in name]
    path = tmp_path / "sr.dcm"
    path.write_bytes(dataset_bytes(result.dataset))
    assert validators.dciodvfy(path) == []


def test_pixels_of_several_sizes_are_described_at_each_image(tmp_path: Path) -> None:
    views = sources.KINDS["MG"](sources.body()).instances
    views[1].SeriesInstanceUID, views[1].ImagerPixelSpacing = "2.25.4711", [0.4, 0.3]
    images = read_views(save_study(views, tmp_path))
    masks = np.zeros((1, *images.pixels.shape), bool)
    masks[0, 0, 20:30, 20:30] = True
    report = document(analyses.of_images(images, list(masks), analyses.manifest()))
    library = next(i for i in report.ContentSequence if meaning(i) == "Image Library")
    (group,) = library.ContentSequence
    assert children(group, "Vertical Pixel Spacing") == []
    sizes = {
        entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID: (
            number(entry, "Vertical Pixel Spacing"),
            number(entry, "Horizontal Pixel Spacing"),
        )
        for entry in children(group, "Source")
    }
    assert sizes == {views[0].SOPInstanceUID: (0.2, 0.2), views[1].SOPInstanceUID: (0.4, 0.3)}


@pytest.mark.parametrize(
    ("stated", "reported"),
    [
        (("CTABD", "99LOCAL", "CT abdomen"), "25045-6"),
        (("44136-0", "LN", "PET whole body"), "44136-0"),
    ],
)
def test_the_procedure_is_reported_in_the_words_of_the_template(
    stated: tuple[str, str, str], reported: str
) -> None:
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = stated
    given = analyses.with_text(analyses.analysis(), {"ProcedureCodeSequence": [procedure]})
    report = document(given)
    items = [i for i in report.ContentSequence if meaning(i) == "Procedure reported"]
    assert [item.ConceptCodeSequence[0].CodeValue for item in items] == [reported]
    assert [i.CodeValue for i in report.PerformedProcedureCodeSequence] == [stated[0]]


@pytest.mark.validators
@pytest.mark.parametrize(
    "code",
    [("RID50149", "RADLEX", "Pulmonary nodule"), ("112120", "DCM", "Ground glass opacity")],
    ids=["RADLEX", "DCM"],
)
def test_a_finding_of_another_scheme_than_snomed_keeps_its_code(
    code: tuple[str, str, str], tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy")
    concept = dict(zip(("value", "scheme", "meaning"), code, strict=True))
    outputs = [
        {"kind": "classification", "layer": "l", "targets": [analyses.target(finding=concept)]},
        {"kind": "segmentation", "layer": "m", "segments": [analyses.segment(type=concept)]},
    ]
    plain = analyses.analysis(phantom(7, slices=12, size=64))
    masks = [segment.mask for segment in plain.segments]
    given = analyses.of_images(plain.images, masks, analyses.manifest(outputs=outputs))
    report = document(given)
    found = [
        item.ConceptCodeSequence[0]
        for group in groups(report)
        for item in children(group, "Finding")
    ]
    assert [(i.CodeValue, i.CodingSchemeDesignator, i.CodeMeaning) for i in found] == [code]
    for number, result in enumerate(write_results(Case(given), WRITERS)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(dataset_bytes(result.dataset))
        assert validators.dciodvfy(path) == [], result.kind


@pytest.mark.validators
@pytest.mark.slow
def test_groups_of_several_templates_stand_side_by_side(
    tmp_path: Path, tool: validators.Tool
) -> None:
    tool("DicomSRValidator")
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    located, other = given.findings
    thin = np.zeros_like(located.segment.mask)
    thin[5, 20:30, 40:50] = True
    segment = replace(given.segments[1], mask=thin)
    absent = replace(other, presence=Presence.ABSENT, segment=None, measurements=())
    findings = (located, replace(other, segment=segment), absent, replace(absent, frame=3))
    mixed = replace(given, segments=(given.segments[0], segment), findings=findings)
    path = tmp_path / "sr.dcm"
    path.write_bytes(dataset_bytes(write_results(Case(mixed), WRITERS)[-1].dataset))
    assert validators.sr_validator(path) == []


@pytest.mark.validators
@pytest.mark.slow
@pytest.mark.parametrize("kind", REPORT_FORMS)
@pytest.mark.parametrize("lesions", [0, 2])
def test_pixelmed_finds_no_error_against_the_templates(
    lesions: int, kind: ResultKind, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("DicomSRValidator")
    path = tmp_path / "sr.dcm"
    given = analyses.analysis(phantom(7, lesions=lesions, slices=24, size=96))
    writers = (*WRITERS[:-1], StructuredReportWriter(kind))
    path.write_bytes(dataset_bytes(write_results(Case(given), writers)[-1].dataset))
    assert validators.sr_validator(path) == []


@pytest.mark.validators
def test_dcmtk_reads_the_document(tmp_path: Path, tool: validators.Tool) -> None:
    tool("dsrdump")
    path = tmp_path / "sr.dcm"
    path.write_bytes(dataset_bytes(document(analyses.analysis())))
    text = validators.dsrdump(path)
    assert "not for diagnostic use" in text
    assert '(130401,DCM,"Visual explanation")' in text
    assert '(52101004,SCT,"Present")' in text

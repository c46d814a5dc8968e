"""A study without a result is answered all the same: what was not looked for, and why."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path

import analyses
import highdicom as hd
import pikepdf
import pytest
import validators
from pydicom import Dataset

import workers.bundles
from dicom_node.catalog import open_bundle
from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.asked import all_asked
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.job import NODE, SeriesChoice
from reports.answer import ANSWERS, answer_document
from reports.answer_page import answer_html
from reports.case import Case
from reports.causes import cause
from reports.language import _, speaking
from reports.part10 import dataset_bytes
from reports.references import Reference
from reports.rejection import Rejection, rejection_note
from reports.settings import Language, ReportSettings
from reports.source import repaired_sources
from reports.structured_report import StructuredReportWriter
from reports.subject import Maker
from reports.unanalysed import Answer
from reports.writer import write_results

PARAMETERS = "Algorithm Parameters"
OLD = Reference("2.25.1001", "2.25.7", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.8")
PDF = Reference("2.25.1001", "2.25.9", "1.2.840.10008.5.1.4.1.1.104.1", "2.25.10")
REASONS = {
    "NO_MODEL": ("Not Attempted", "Object Types not supported"),
    "GEOMETRY": ("Not Attempted", "Object Types not supported"),
    "SLICE_SET": ("Not Attempted", "Object Set incomplete"),
    "VALUE": ("Not Attempted", "Objects incorrectly formatted"),
    "LEASE_LOST": ("Failed", "Software failure"),
    "ALTERED": ("Failed", "Equipment failure"),
    "DEVICE_MEMORY": ("Failed", "Resource inadequate"),
    "MODEL_OUTPUT": ("Failed", "Software failure"),
    "NO_SYNTAX": ("Not Attempted", "Object Types not supported"),
    "NEVER_HEARD_OF": ("Failed", "Software failure"),
}
NAMED = {
    "tasks/qa-spheres": [("Sphere insert", "")],
    "tasks/qa-diameter": [("Phantom", "")],
    "tasks/qa-views": [("Mass", "Breast")],
    "phantom-lesion": [("Lesion", ""), ("Entire body", "")],
    "tasks/qa-denoise": [],
}
"""What each bundle is asked for, and where."""
BUNDLES = Path(workers.bundles.__file__).parent


def answer(reason: str = "GEOMETRY", *, model: bool = True) -> Answer:
    given = analyses.analysis()
    plan = given.manifest.classification
    assert plan
    study = analyses.study(analyses.phantom(7, slices=12, size=128))
    return Answer(
        reason=reason,
        sources=repaired_sources(study[:1]),
        images=tuple(map(Reference.to, study)),
        maker=Maker.model(given.manifest, "b0" * 32) if model else Maker.node(),
        provenance=given.provenance,
        settings=ReportSettings(institution_name="St. Elsewhere"),
        model_name="phantom-lesion" if model else NODE,
        asked=plan.targets if model else (),
        selection=(SeriesChoice("2.25.3", "Scout", "CT", 2, False, "2 images, fewer than 8"),),
    )


def items(document: Dataset, name: str) -> Iterator[Dataset]:
    """All content items of a name, at any depth."""
    for item in document.get("ContentSequence", ()):
        if any(code.CodeMeaning == name for code in item.get("ConceptNameCodeSequence", ())):
            yield item
        yield from items(item, name)


def values(document: Dataset, name: str) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeMeaning for item in items(document, name)]


def texts(document: Dataset) -> str:
    return "\n".join(item.TextValue for item in items(document, "Comment"))


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_coded_outcome_and_a_coded_cause(reason: str) -> None:
    document = answer_document(answer(reason)).dataset
    outcome, cause = REASONS[reason]
    assert values(document, "Summary of Analyses") == [outcome]
    assert values(document, "Reason") == [cause]
    assert reason in texts(document)
    assert "not a negative result" in texts(document)


@pytest.mark.parametrize("reason", ["PATIENT_MIX", "MODEL_OUTPUT", "NO_SYNTAX", *REASONS])
def test_the_node_is_blamed_where_the_node_is_to_blame(reason: str) -> None:
    blamed = cause(reason).words == "The cause is in the node, not in the study."
    assert blamed == (reason in ("LEASE_LOST", "NEVER_HEARD_OF"))


def test_what_was_searched_for_is_undetermined_and_never_absent() -> None:
    document = answer_document(answer()).dataset
    assert values(document, "Presence of property") == ["Undetermined"]
    assert values(document, "Finding") == ["Lesion"]
    assert "Absent" not in document.to_json()


def test_the_algorithm_is_named_with_its_operating_point_and_its_bytes() -> None:
    """As in the SR of a result (TID 4019)."""
    parameters = {i.TextValue for i in items(answer_document(answer()).dataset, PARAMETERS)}
    assert {"target=lesion", "operating_threshold=0.5", f"bundle_sha256={'b0' * 32}"} < parameters
    result = write_results(Case(analyses.analysis()), (StructuredReportWriter(),))[-1].dataset
    assert parameters == {i.TextValue for i in items(result, PARAMETERS)}


def test_a_study_that_no_model_reads_is_answered_by_the_node_itself() -> None:
    document = answer_document(answer("NO_MODEL", model=False)).dataset
    assert document.ManufacturerModelName == "DICOM AI node"
    assert document.SeriesDescription == "AI DICOM AI node no result - not for diagnostic use"
    assert list(items(document, "Measurement Group")) == []
    assert "Series 2.25.3 not taken: 2 images, fewer than 8" in texts(document)


def test_all_images_that_were_offered_are_listed() -> None:
    given = answer()
    (study,) = answer_document(given).dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    listed = [i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence]
    assert listed == [image.sop_instance_uid for image in given.images]


def test_tracking_is_that_of_the_finding_that_a_later_run_may_make() -> None:
    given = answer()
    (uid,) = items(answer_document(given).dataset, "Tracking Unique Identifier")
    assert given.provenance.tracking_uid("phantom-lesion", "lesion") == uid.UID


def test_an_answer_names_what_it_takes_the_place_of() -> None:
    document = answer_document(replace(answer(), predecessors=(OLD,))).dataset
    (study,) = document.PredecessorDocumentsSequence
    (reference,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == "2.25.8"
    assert reference.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Replaced report"


@pytest.mark.parametrize("language", ["en", "de", "zh-Hans"])
@pytest.mark.parametrize("reason", REASONS)
def test_the_page_says_what_was_asked_that_it_is_open_why_and_what_to_do(
    reason: str, language: Language
) -> None:
    given = replace(answer(reason), settings=ReportSettings(language=language))
    page = answer_html(given)
    assert f'<html lang="{language}">' in page
    assert f"<code>{reason}</code>" in page
    why = cause(reason)
    with speaking(language):
        for text in (why.words, why.advice, "This is not a negative result.", "Undetermined",
                     "Lesion", "Made by artificial intelligence. Research only, not for "
                     "diagnostic use."):  # fmt: skip
            assert escape(_(text)) in page
    assert "phantom-lesion@" in page
    assert "Scout" in page


def test_the_page_of_a_study_that_no_model_reads_says_that_none_looked() -> None:
    page = answer_html(answer("NO_MODEL", model=False))
    assert "No model of this node reads this kind of study." in page
    assert "no model looked at this study" in page


@pytest.mark.parametrize(("bundle", "named"), NAMED.items())
def test_what_is_outlined_or_measured_is_undetermined_with_its_site(
    bundle: str, named: list[tuple[str, str]]
) -> None:
    given = replace(answer(), asked=all_asked(open_bundle(BUNDLES / bundle).manifest))
    document = answer_document(given).dataset
    groups = list(items(document, "Measurement Group"))
    said = [
        (*values(group, "Finding"), *(values(group, "Finding Site") or [""])) for group in groups
    ]
    assert said == named
    assert [values(g, "Presence of property") for g in groups] == [["Undetermined"]] * len(named)


def test_the_page_names_what_is_outlined_or_measured() -> None:
    asked = [
        each
        for bundle in ("tasks/qa-spheres", "tasks/qa-diameter")
        for each in all_asked(open_bundle(BUNDLES / bundle).manifest)
    ]
    page = answer_html(replace(answer("TIME_LIMIT"), asked=tuple(asked)))
    assert page.count("Undetermined") == len(asked)
    assert "Phantom: Diameter" in page


def test_the_site_of_what_was_asked_has_its_side() -> None:
    left = {"value": "7771000", "scheme": "SCT", "meaning": "Left"}
    (target,) = answer().asked
    sided = target.model_validate({**target.model_dump(), "laterality": left})
    given = replace(answer(), asked=(sided,))
    assert values(answer_document(given).dataset, "Laterality") == ["Left"]
    assert "Trunk, left" in answer_html(given)


def test_a_model_that_makes_images_is_named_where_it_says_nothing() -> None:
    page = answer_html(replace(answer("TIME_LIMIT"), asked=()))
    assert "none of them is known" in page
    assert "no model looked" not in page


def test_what_a_header_holds_is_text_on_the_page() -> None:
    given = answer()
    given.sources.first.StudyDescription = "<script>alert(1)</script>"
    assert "<script>" not in answer_html(given)


@pytest.mark.parametrize("language", ["en", "de", "zh-Hans"])
def test_the_answer_for_who_reads_no_sr_is_one_page_with_the_page_inside(
    language: Language,
) -> None:
    given = replace(answer(), settings=ReportSettings(language=language), predecessors=(PDF,))
    result = answer_document(given, ResultKind.ENCAPSULATED_PDF)
    data = result.dataset
    assert result.kind is ResultKind.ENCAPSULATED_PDF
    assert data.SOPClassUID.name == "Encapsulated PDF Storage"
    with speaking(language):
        assert _("no result") in data.SeriesDescription
        assert _("AI, no result: {}. {}")[:2] in data.DocumentTitle
    listed = [item.ReferencedSOPInstanceUID for item in data.SourceInstanceSequence]
    assert listed == [image.sop_instance_uid for image in given.images]
    assert data.PredecessorDocumentsSequence
    pdf = pikepdf.open(BytesIO(data.EncapsulatedDocument[: data.EncapsulatedDocumentLength]))
    assert len(pdf.pages) == 1
    assert pdf.attachments["report.html"].get_file().read_bytes() == answer_html(given).encode()
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "B")
    again = answer_document(given, ResultKind.ENCAPSULATED_PDF)
    assert dataset_bytes(again.dataset) == dataset_bytes(data)


@pytest.mark.validators
@pytest.mark.parametrize("kind", ANSWERS)
def test_every_form_of_an_answer_is_valid(
    kind: ResultKind, tool: validators.Tool, tmp_path: Path
) -> None:
    tool("dciodvfy")
    given = replace(answer(), predecessors=(OLD, PDF))
    assert validators.dciodvfy(saved(answer_document(given, kind), tmp_path)) == []


@pytest.mark.validators
@pytest.mark.parametrize("model", [True, False])
def test_answers_are_valid_and_read_back(
    model: bool, tool: validators.Tool, tmp_path: Path
) -> None:
    given = replace(answer("NO_MODEL", model=model), predecessors=(OLD,))
    path = saved(answer_document(given), tmp_path)
    tool("dciodvfy")
    assert validators.dciodvfy(path) == []
    assert validators.sr_validator(path) == []
    assert "Not Attempted" in validators.dsrdump(path)
    if model:
        hd.sr.srread(path)


def saved(result: ResultInstance, folder: Path) -> Path:
    path = folder / "result.dcm"
    path.write_bytes(dataset_bytes(result.dataset))
    return path


@cache
def rejection() -> Rejection:
    given = analyses.analysis()
    results = write_results(Case(given))
    return Rejection(
        sent=tuple(r.dataset for r in results),
        reader="Weber, Anna",
        comment="A cyst, not a lesion.",
        rejected_at=datetime(2026, 3, 15, 8, 0, tzinfo=UTC),
        sources=repaired_sources([results[-1].dataset]),
        maker=Maker.model(given.manifest, "b0" * 32),
        provenance=given.provenance,
        settings=ReportSettings(),
    )


def test_a_rejection_note_takes_back_everything_that_was_sent() -> None:
    given = rejection()
    note = rejection_note(given).dataset
    title, modifier = note.ConceptNameCodeSequence[0], values(note, "Document Title Modifier")
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    assert modifier == ["Inappropriate image processing"]
    told = [
        reference.ReferencedSOPInstanceUID
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert sorted(told) == sorted(r.SOPInstanceUID for r in given.sent)
    named = [
        i.ReferencedSOPSequence[0] for i in note.ContentSequence if "ReferencedSOPSequence" in i
    ]
    assert [i.ReferencedSOPInstanceUID for i in named] == [r.SOPInstanceUID for r in given.sent]
    assert "A cyst, not a lesion." in note.to_json()
    (model,) = note.ContributingEquipmentSequence  # and no scanner, which none of them names
    assert model.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"


READERS = {
    "Weber, Anna": "Weber^Anna",
    "Weber": "Weber",
    "Weber\\Anna": "Weber Anna",
    "Weber=Anna = X": "Weber Anna X",
    "Weber^Anna^^Dr.": "Weber^Anna^^Dr.",
    "a^b^c^d^e^f, g": "a^b^c^d^e f, g",
    "Weber, Anna^M.": "Weber, Anna^M.",
    "王小东": "王小东",
    "W" * 100: "W" * 59 + "…",
}


@pytest.mark.parametrize("typed", READERS)
def test_the_reader_of_a_rejection_note_is_a_person(typed: str) -> None:
    note = rejection_note(replace(rejection(), reader=typed)).dataset
    (name,) = items(note, "Person Observer Name")
    assert name.PersonName == READERS[typed]


def test_a_name_without_letters_names_nobody() -> None:
    note = rejection_note(replace(rejection(), reader="\\ ^=")).dataset
    assert list(items(note, "Person Observer Name")) == []


@pytest.mark.validators
@pytest.mark.parametrize("reader", ["Weber, Anna", "Weber\\Anna = X", "^", "a^b^c^d^e^f"])
def test_a_rejection_note_is_valid(reader: str, tool: validators.Tool, tmp_path: Path) -> None:
    tool("dciodvfy")
    path = saved(rejection_note(replace(rejection(), reader=reader)), tmp_path)
    assert validators.dciodvfy(path) == []
    assert validators.sr_validator(path) == []
    assert "Rejected for Quality Reasons" in validators.dsrdump(path)

"""A study without a result is answered all the same: what was not looked for, and why."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import analyses
import highdicom as hd
import pytest
import validators
from pydicom import Dataset

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.job import SeriesChoice
from reports.answer import Answer, answer_document
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.references import Reference
from reports.rejection import Rejection, rejection_note
from reports.settings import ReportSettings
from reports.source import repaired_sources
from reports.subject import Maker
from reports.writer import write_results

OLD = Reference("2.25.1001", "2.25.7", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.8")
REASONS = {
    "NO_MODEL": ("Not Attempted", "Object Types not supported"),
    "GEOMETRY": ("Not Attempted", "Object Types not supported"),
    "SLICE_SET": ("Not Attempted", "Object Set incomplete"),
    "VALUE": ("Not Attempted", "Objects incorrectly formatted"),
    "LEASE_LOST": ("Failed", "Software failure"),
    "ALTERED": ("Failed", "Equipment failure"),
    "DEVICE_MEMORY": ("Failed", "Resource inadequate"),
    "NEVER_HEARD_OF": ("Failed", "Software failure"),
}


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
        model_name="phantom-lesion",
        targets=plan.targets if model else (),
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


def test_what_was_searched_for_is_undetermined_and_never_absent() -> None:
    document = answer_document(answer()).dataset
    assert values(document, "Presence of property") == ["Undetermined"]
    assert values(document, "Finding") == ["Lesion"]
    assert "Absent" not in document.to_json()


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


@pytest.mark.validators
def test_a_rejection_note_is_valid(tool: validators.Tool, tmp_path: Path) -> None:
    tool("dciodvfy")
    path = saved(rejection_note(rejection()), tmp_path)
    assert validators.dciodvfy(path) == []
    assert validators.sr_validator(path) == []
    assert "Rejected for Quality Reasons" in validators.dsrdump(path)

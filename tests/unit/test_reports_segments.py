"""What a model outlines stands in every result as measured, and what it does not as not found."""

import re
from html import unescape
from pathlib import Path

import analyses
import highdicom as hd
import numpy as np
import organs
import pytest
import sources
import validators
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.prediction import Prediction
from reports.case import Case
from reports.html import report_html
from reports.key_slices import is_absent
from reports.measurement_groups import PRESENCE_OF_PROPERTY
from reports.part10 import dataset_bytes
from reports.settings import ReportSettings
from reports.verdict import COMMENT
from reports.wording import summary
from reports.writer import WRITERS, write_results
from workers.findings import Case as Found
from workers.prediction import answer

MODEL = ModelManifest.model_validate(organs.manifest())
KINDS = {ResultKind.SEGMENTATION, ResultKind.STRUCTURED_REPORT, ResultKind.KEY_OBJECTS}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A liver where the phantom has its lesion, and no left kidney."""
    folder = tmp_path_factory.mktemp("study")
    truth = sources.stack(sources.body(1)).truth(folder, MODEL)
    masks = np.stack([truth.lesion, np.zeros_like(truth.lesion)], axis=-1).astype(np.float32)
    nothing = np.zeros((len(masks), 0), np.float32)
    prediction = Prediction(nothing, nothing, masks)
    provenance = analyses.provenance_of(truth.images, "a1" * 32)
    said = answer(Found(MODEL, provenance, truth.images, prediction))
    return Analysis(
        MODEL, provenance, truth.images, prediction, said.segments, said.findings, (),
        estimates=said.estimates,
    )  # fmt: skip


def page(given: Analysis, language: str = "en") -> str:
    html = report_html(Case(given, ReportSettings(language=language)))
    text = unescape(re.sub(r"<[^>]+>", " ", html.partition("<h1>")[2]))
    return " ".join(text.split())


def test_the_summary_says_first_what_was_found_and_plainly_what_was_not(given: Analysis) -> None:
    said = re.fullmatch(
        r"(Liver: Volume [\d.]+ ml); (Kidney \(left\): not found\.)", summary(given)
    )
    assert said
    assert " ".join([f"{said[1]}.", said[2]]) in page(given)


def test_the_table_shows_no_probability_that_nobody_gave(given: Analysis) -> None:
    table = page(given).partition("Where")[2].partition("Key slices")[0]
    assert re.search(r"Liver 1 Outlined none Volume [\d.]+ ml Long axis", table)
    assert "Kidney Kidney, left Not found none Volume 0 ml" in table
    assert "Present" not in table
    assert "Absent" not in table


@pytest.mark.parametrize(("language", "word"), [("de", "Nicht gefunden"), ("zh-Hans", "未找到")])
def test_it_is_said_in_the_language_of_the_report(
    given: Analysis, language: str, word: str
) -> None:
    assert word in page(given, language)


def test_key_slices_are_of_what_was_found(given: Analysis) -> None:
    case = Case(given)
    assert [key.findings[0].label for key in case.key_slices] == ["Liver"]
    assert [is_absent(each) for each in given.answers] == [False, True]
    (key,) = case.key_slices
    assert key.frame in given.segments[0].frames


def test_the_sr_measures_what_was_found_and_codes_what_was_not(
    given: Analysis, tool: validators.Tool, tmp_path: Path
) -> None:
    writers = [writer for writer in WRITERS if writer.kind in KINDS]
    results = {each.kind: each.dataset for each in write_results(Case(given), writers)}
    path = tmp_path / "report.dcm"
    path.write_bytes(dataset_bytes(results[ResultKind.STRUCTURED_REPORT]))
    content = hd.sr.srread(path).content
    (liver,) = content.get_volumetric_roi_measurement_groups()
    reference = liver.referenced_segment
    segmentation = results[ResultKind.SEGMENTATION]
    assert reference.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    names = {m.name.meaning for m in liver.get_measurements()}
    assert {"Volume", "Long axis", "Short axis"} <= names
    assert {m.unit.scheme_designator for m in liver.get_measurements()} == {"UCUM"}
    assert [each.meaning for each in _presence(liver)] == ["Present"]
    (kidney,) = content.get_image_measurement_groups()
    assert [each.meaning for each in _presence(kidney)] == ["Absent"]
    comments = [item.value for item in kidney[0].ContentSequence if item.name == COMMENT]
    assert comments == ["Nothing of it was outlined: there is nothing to explain."]
    assert kidney.source_images == []
    (site,) = kidney.finding_sites
    assert (site.value.meaning, site.laterality.meaning) == ("Kidney", "Left")
    parameters = [str(each) for each in _parameters(kidney)]
    assert {"segment=Left kidney", "operating_threshold=0.5"} <= set(parameters)
    assert validators.dciodvfy(path) == []
    assert validators.sr_validator(path) == []


def _presence(group: hd.sr.MeasurementsAndQualitativeEvaluations) -> list[hd.sr.CodedConcept]:
    said = group.get_qualitative_evaluations()
    return [each.value for each in said if each.name == PRESENCE_OF_PROPERTY]


def _parameters(group: hd.sr.MeasurementsAndQualitativeEvaluations) -> list[str]:
    items = group[0].ContentSequence
    return [i.value for i in items if i.name == codes.DCM.AlgorithmParameters]


def test_where_nothing_was_found_no_image_is_key(given: Analysis, tmp_path: Path) -> None:
    missing = Analysis(
        MODEL, given.provenance, given.images, given.prediction, (), (), (),
        estimates=given.estimates[1:],
    )  # fmt: skip
    writers = [writer for writer in WRITERS if writer.kind in KINDS]
    kinds = {each.kind for each in write_results(Case(missing), writers)}
    assert kinds == {ResultKind.STRUCTURED_REPORT}
    assert summary(missing) == "Kidney (left): not found."
    assert "Kidney (left): not found" in page(missing).partition("Key slices")[2]

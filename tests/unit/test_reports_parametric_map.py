"""The heat map as data: the numbers of the map, at their place in the patient."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import analyses
import highdicom as hd
import numpy as np
import pytest
import validators
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.parametric_map import ParametricMapWriter
from reports.part10 import dataset_bytes
from reports.settings import ReportSettings

FORMS = ["FLOAT", "INTEGER"]


def written(given: Analysis, form: Any = "FLOAT") -> list[Dataset]:
    case = Case(given, ReportSettings(parametric_map=form))
    return [
        hd.imread(BytesIO(dataset_bytes(result.dataset)))
        for result in ParametricMapWriter().write(case, [])
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_numbers_of_the_map_are_at_their_place(form: str, reverse: bool) -> None:
    source = phantom(7, lesions=2, slices=24, size=96)
    given = analyses.analysis(source, analyses.study(source, reverse=reverse))
    dataset = written(given, form)[0]
    volume = dataset.get_volume(apply_real_world_transform=True, dtype=np.float64)
    truth = hd.Volume(given.findings[0].explanation.saliency.values, given.images.affine, "PATIENT")
    first = truth.map_reference_to_indices(volume.affine[:3, 3][None], round_output=True)[0]
    last = truth.map_reference_to_indices(
        volume.map_indices_to_reference(np.array([[len(volume.array) - 1, 0, 0]])),
        round_output=True,
    )[0]
    assert list(first[1:]) == list(last[1:]) == [0, 0]
    step = 1 if last[0] > first[0] else -1
    there = truth.array[min(first[0], last[0]) : max(first[0], last[0]) + 1][::step]
    assert volume.array == pytest.approx(there, abs=1e-3 if form == "INTEGER" else 0)
    left_out = truth.array.sum() - there.sum()
    assert left_out < 0.04 * analyses.FULL_SCALE * truth.array[0].size


@pytest.mark.validators
@pytest.mark.parametrize("form", FORMS)
def test_it_says_what_its_numbers_are_and_how_to_show_them(
    form: str, tmp_path: Path, tool: validators.Tool
) -> None:
    tool("dciodvfy")
    (dataset,) = written(analyses.analysis(), form)
    path = tmp_path / "map.dcm"
    dataset.save_as(path)
    assert validators.dciodvfy(path) == []
    (shared,) = dataset.SharedFunctionalGroupsSequence
    (mapping,) = shared.RealWorldValueMappingSequence
    (quantity,) = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "130403"
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    (window,) = shared.FrameVOILUTSequence
    shown = float(window.WindowWidth) * mapping.RealWorldValueSlope
    assert shown == pytest.approx(analyses.FULL_SCALE)
    assert dataset.ContentQualification == "RESEARCH"
    assert "not for diagnostic use" in dataset.ImageComments


def test_slices_without_any_heat_are_left_out_and_none_between_is() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    dataset = written(given)[0]
    warm = np.flatnonzero(given.findings[0].explanation.saliency.values.max(axis=(1, 2)) > 0.24)
    assert dataset.NumberOfFrames == warm[-1] - warm[0] + 1 < 24


def test_a_cold_map_has_the_key_slice_of_its_absent_target() -> None:
    given = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    (dataset,) = written(given)
    (frame,) = dataset.PerFrameFunctionalGroupsSequence
    (source,) = frame.DerivationImageSequence[0].SourceImageSequence
    key = given.images.frames[given.findings[0].frame]
    assert source.ReferencedSOPInstanceUID == key.sop_instance_uid


def test_findings_share_a_map_or_have_their_own() -> None:
    given = analyses.analysis()
    found = given.findings[0]
    other = replace(
        found,
        target=found.target.model_copy(update={"label": "nodule"}),
        explanation=replace(
            found.explanation, saliency=replace(found.explanation.saliency, target="nodule")
        ),
    )
    datasets = written(replace(given, findings=(found, found, other)))
    assert [d.InstanceNumber for d in datasets] == [1, 2]
    assert "for nodule" in datasets[1].ImageComments


def test_what_speaks_against_a_target_is_in_no_result() -> None:
    """Viewers take the lowest number for black: what shows nothing would turn grey."""
    given = analyses.analysis()
    explanation = given.findings[0].explanation
    against = replace(explanation.saliency, signed=explanation.saliency.values - 3)
    changed = replace(explanation, saliency=against)
    maps = [written(given), written(analyses.with_finding(given, explanation=changed))]
    assert maps[0][0] == maps[1][0]


def test_images_that_lie_nowhere_in_the_patient_have_no_map_as_data() -> None:
    given = analyses.analysis()
    assert written(replace(given, images=replace(given.images, affine=None))) == []


def test_a_stack_without_a_frame_of_reference_is_refused() -> None:
    given = analyses.analysis()
    for header in given.images.datasets:
        del header.FrameOfReferenceUID
    with pytest.raises(UnsupportedGeometry, match="Frame of Reference"):
        written(given)

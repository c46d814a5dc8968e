"""Each task that a model may have, through the whole pipeline: DICOM in, DICOM and a report out.

The bundles are small, and the phantoms are such that the truth is known.
"""

import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import ParametricMapStorage
from task_results import ABSENT, PRESENT, study

from dicom_node.testing.inserts import cylinder

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 70_000
"""Beyond those of all recipes."""


def test_regression_gives_a_number_with_a_unit(analysed, valid):
    made = cylinder(SEED, ("disc",), slices=3, roaming=True)
    results = analysed("qa-diameter", study(made))
    (numbers,) = results.numbers()
    assert numbers["Diameter"] == pytest.approx(made.diameter_mm, abs=6)
    (group,) = results.report.content.get_image_measurement_groups()
    (measurement,) = group.get_measurements()
    assert measurement.unit == codes.UCUM.Millimeter
    assert group.finding_type.meaning == "Phantom"
    assert results.of("OT"), "no map of what raised the number"
    assert "Diameter" in results.page
    valid(results)


def test_a_number_beyond_what_training_saw_comes_with_a_note(analysed):
    made = cylinder(SEED, (), slices=1, roaming=True)
    made.phantom.hu[:] = -1000
    results = analysed("qa-diameter", study(made))
    assert "outside of the range" in results.page


@pytest.mark.parametrize(
    ("kind", "seed"), [("disc", SEED), ("ring", SEED + 1), ("square", SEED + 2)]
)
def test_of_several_classes_one_is_present(analysed, valid, kind, seed):
    results = analysed("qa-insert", study(cylinder(seed, (kind,))))
    wanted = {f"{k.title()} insert": ABSENT for k in ("disc", "ring", "square")}
    assert results.presence() == {**wanted, f"{kind.title()} insert": PRESENT}
    total = sum(numbers["Probability"] for numbers in results.numbers())
    assert total <= 100.1, "the classes share one probability"
    valid(results)


def test_where_there_is_nothing_of_the_classes_all_are_absent(analysed):
    results = analysed("qa-insert", study(cylinder(SEED + 3)))
    assert set(results.presence().values()) == {ABSENT}


def test_features_are_read_and_each_says_what_it_added(analysed, valid):
    """Coded by the IBSI, with Shapley values in words; no map is claimed."""
    results = analysed("qa-features", study(cylinder(SEED + 13, ("star",), size=128)))
    assert results.presence() == {"Star insert": PRESENT}
    (group,) = results.report.content.get_image_measurement_groups()
    features = [m.name for m in group.get_measurements() if m.name.scheme_designator == "IBSI"]
    assert len(features) >= 3
    assert "Shapley values" in results.page
    assert not [d for d in results.of("OT") if d.SOPClassUID == ParametricMapStorage]
    valid(results)


def test_features_of_another_insert_are_of_no_star(analysed):
    results = analysed("qa-features", study(cylinder(SEED + 14, ("disc",), size=128)))
    assert results.presence() == {"Star insert": ABSENT}


def test_a_volume_is_outlined_in_three_dimensions_and_measured(analysed, valid):
    made = cylinder(SEED + 11, ("disc", "sphere"), slices=18, size=64)
    results = analysed("qa-spheres", study(made))
    (segmentation,) = results.of("SEG")
    voxels = segmentation.pixel_array.sum()
    sphere = made.phantom.lesions[1]
    assert voxels == pytest.approx(sphere.sum(), rel=0.25)
    (numbers,) = results.numbers()
    planted_ml = sphere.sum() * np.prod(made.phantom.spacing_mm) / 1000
    assert numbers["Volume"] == pytest.approx(planted_ml, rel=0.25)
    valid(results)


def test_what_is_outlined_is_explained_on_the_grid_of_its_source(analysed, valid):
    made = cylinder(SEED + 11, ("disc", "sphere"), slices=18, size=64)
    results = analysed("qa-spheres", study(made))
    (group,) = results.report.content.get_volumetric_roi_measurement_groups()
    (shown,) = (d for d in results.of("OT") if d.SOPClassUID == ParametricMapStorage)
    images = group[0].ContentSequence.find(codes.DCM.VisualExplanation)
    assert shown.SOPInstanceUID in {image.referenced_sop_instance_uid for image in images}
    assert (shown.Rows, shown.Columns) == (64, 64)
    values = np.frombuffer(shown.FloatPixelData, "<f4").reshape(-1, 64, 64)
    strongest = np.unravel_index(values.argmax(), values.shape)
    near = np.argwhere(made.phantom.lesions[1])[:, 1:] - strongest[1:]
    assert np.abs(near).max(axis=1).min() <= 2  # cells of four pixels
    assert "Heat map: checks passed" in results.page
    valid(results)


def test_a_volume_without_anything_to_outline_says_not_found(analysed, valid):
    """Absent in the code of the SR, and no probability, which nobody stated."""
    results = analysed("qa-spheres", study(cylinder(SEED + 12, (), slices=10, size=64)))
    assert results.of("SEG") == []
    assert not [d for d in results.of("OT") if d.SOPClassUID == ParametricMapStorage]
    assert results.numbers() == [{"Volume": 0}]
    assert results.presence() == {"Sphere insert": ABSENT}
    assert "Sphere insert: not found." in results.page
    assert "Not found</span>" in results.page
    valid(results)

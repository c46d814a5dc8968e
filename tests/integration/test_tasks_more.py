"""Boxes, images, sequences, labels and attention: small bundles through the whole pipeline."""

import re
from html import unescape

import numpy as np
import pytest
from pydicom.dataset import Dataset
from task_results import ABSENT, PRESENT, study

from dicom_node.domain.errors import IncompleteStudy
from dicom_node.testing.inserts import cylinder
from dicom_node.testing.mammogram import VIEWS, breast, make_mammograms

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 70_000
"""Beyond those of all recipes."""


@pytest.mark.parametrize(
    ("kind", "seed"), [("disc", SEED), ("ring", SEED + 1), ("square", SEED + 2)]
)
def test_attention_chooses_one_of_several_classes(analysed, valid, kind, seed):
    results = analysed("qa-transformer", study(cylinder(seed, (kind,))))
    wanted = {f"{k.title()} insert": ABSENT for k in ("disc", "ring", "square")}
    assert results.presence() == {**wanted, f"{kind.title()} insert": PRESENT}
    total = sum(numbers["Probability"] for numbers in results.numbers())
    assert total <= 100.1, "the classes share one probability"
    valid(results)


def test_of_several_labels_each_has_an_answer_of_its_own(analysed, valid):
    results = analysed("qa-inserts", study(cylinder(SEED + 4, ("disc", "square"))))
    assert results.presence() == {
        "Disc insert": PRESENT,
        "Ring insert": ABSENT,
        "Square insert": PRESENT,
    }
    valid(results)


def test_detection_draws_a_box_around_each_insert(analysed, valid):
    made = cylinder(SEED + 5, ("disc", "disc", "square"), size=128)
    results = analysed("qa-boxes", study(made))
    groups = results.report.content.get_planar_roi_measurement_groups()
    boxes = sorted(_corners(group.roi.value) for group in groups)
    wanted = sorted(_edges(mask) for mask in made.phantom.lesions)
    np.testing.assert_allclose(boxes, wanted, atol=4)  # pixels of 2.25 mm
    valid(results)


def _corners(polyline: np.ndarray) -> tuple[float, ...]:
    """First column and row, last column and row."""
    return (*polyline.min(axis=0), *polyline.max(axis=0))


def _edges(mask: np.ndarray) -> tuple[float, ...]:
    rows, columns = (np.flatnonzero(mask[0].any(axis=axis)) for axis in (1, 0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def test_without_an_insert_detection_says_absent(analysed):
    results = analysed("qa-boxes", study(cylinder(SEED + 6)))
    assert results.presence() == {"Insert": ABSENT}
    assert results.report.content.get_planar_roi_measurement_groups() == []


def hounsfield(image: Dataset) -> np.ndarray:
    return image.pixel_array.astype(int) + int(image.RescaleIntercept)


def test_an_image_comes_back_as_a_derived_series_in_its_place(analysed, valid):
    made = cylinder(SEED + 7, ("disc",), slices=3, size=64, noise_hu=40)
    sources = study(made)
    results = analysed("qa-denoise", sources)
    derived = [d for d in results.of("CT") if d.SOPClassUID == sources[0].SOPClassUID]
    assert len(derived) == len(sources)
    for image, source in zip(derived, sources, strict=True):
        assert list(image.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
        assert image.FrameOfReferenceUID == source.FrameOfReferenceUID
        np.testing.assert_allclose(
            np.array(image.ImagePositionPatient, float),
            np.array(source.ImagePositionPatient, float),
            atol=0.01,
        )
    shown = np.stack([hounsfield(d) for d in derived])
    inside = made.phantom.body
    before = np.std((made.phantom.hu - made.clean_hu)[inside])
    assert np.std((shown - made.clean_hu)[inside]) <= before / 2
    assert "Root mean square change" in results.numbers()[0]
    valid(results)


def test_a_derived_image_of_another_pixel_size_lies_where_its_source_does(analysed):
    """The source's pixels have 2.25 mm, the model's 4.5 mm: the square is at the same place."""
    made = cylinder(SEED + 8, ("square",), size=128, noise_hu=5)
    results = analysed("qa-denoise", study(made))
    (image,) = results.of("CT")
    assert [float(s) for s in image.PixelSpacing] == [4.5, 4.5]
    seen = np.argwhere(hounsfield(image) > 80).mean(axis=0)
    planted = np.argwhere(made.phantom.lesions[0][0]).mean(axis=0)
    first = np.array([float(p) for p in image.ImagePositionPatient])[[1, 0]]
    np.testing.assert_allclose(first + seen * 4.5, -180 + planted * 2.25, atol=1.5)


def test_a_sequence_gets_one_answer_and_names_the_slice_that_mattered(analysed, valid):
    made = cylinder(SEED + 9, ("sphere",), slices=20, size=64)
    sources = study(made)
    results = analysed("qa-sequence", sources)
    assert results.presence() == {"Sphere insert": PRESENT}
    (group,) = results.report.content.get_image_measurement_groups()
    (named,) = group.source_images
    slices = np.flatnonzero(made.phantom.lesions[0].any(axis=(1, 2)))
    uids = [sources[n].SOPInstanceUID for n in slices]
    assert named.referenced_sop_instance_uid in uids
    valid(results)


def test_a_sequence_without_a_sphere_is_absent(analysed):
    results = analysed("qa-sequence", study(cylinder(SEED + 10, slices=20, size=64)))
    assert results.presence() == {"Sphere insert": ABSENT}


def breasts(*shown: tuple[str, bool, bool]) -> list[Dataset]:
    """Of each side: whether its CC and its MLO view show a mass."""
    images = [
        (side, view, breast(SEED + 20, view, mass=mass))
        for side, cc, mlo in shown
        for view, mass in zip(VIEWS, (cc, mlo), strict=True)
    ]
    return make_mammograms(images)


def test_two_views_of_a_side_have_one_answer_and_each_side_its_own(analysed, valid):
    instances = breasts(("L", True, True), ("R", False, False))
    results = analysed("qa-views", instances)
    groups = results.report.content.get_image_measurement_groups()
    said = {}
    for group in groups:
        (site,) = group.finding_sites
        (presence,) = [
            q.value.value for q in group.get_qualitative_evaluations() if q.name.value == "121052"
        ]
        said[site.laterality.meaning] = presence
    assert said == {"Left": PRESENT, "Right": ABSENT}
    page = " ".join(unescape(re.sub(r"<[^>]+>", " ", results.page)).split())
    assert re.search(r"Mass \(left\) present, .*; Mass \(right\) absent, ", page)
    assert "Mass Breast, left Present" in page
    assert "Mass Breast, right Absent" in page
    valid(results)


def test_a_mass_in_one_view_alone_is_none(analysed):
    assert set(analysed("qa-views", breasts(("L", True, False))).presence().values()) == {ABSENT}


def test_a_side_without_both_views_is_refused_by_name(analysed):
    with pytest.raises(IncompleteStudy, match="CC and MLO"):
        analysed("qa-views", breasts(("L", True, True))[:1])

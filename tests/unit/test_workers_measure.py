"""Measurements agree with spheres and ellipses of known size."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.images import FrameReference, SourceImages
from workers.measure import diameters_mm, longest_slice, measurements, volume_ml
from workers.units import unit_of

SPACING = (2.0, 0.7, 0.9)
SHAPE = (30, 120, 110)


def grid(center_mm: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    return tuple(
        axis * step - c for axis, step, c in zip(np.indices(SHAPE), SPACING, center_mm, strict=True)
    )


def images(modality: str = "CT", affine: bool = True, **attributes: object) -> SourceImages:
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *SPACING, 1
    pixels = np.random.default_rng(0).normal(60, 10, SHAPE).astype(np.float32)
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    headers = tuple(_header(modality, frame.sop_instance_uid, attributes) for frame in frames)
    return SourceImages(headers, frames, pixels, matrix if affine else None)


def _header(modality: str, uid: str, attributes: Mapping[str, object]) -> Dataset:
    header = Dataset()
    header.Modality, header.SOPInstanceUID = modality, uid
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


@pytest.fixture(scope="module")
def sphere() -> np.ndarray:
    z, y, x = grid((30, 42, 50))
    return z**2 + y**2 + x**2 <= 15**2


def named(values, code):
    return next(each for each in values if each.name == code)


def test_a_sphere_has_its_volume_and_diameters(sphere):
    values = measurements(sphere, longest_slice(sphere, images()), images())
    assert named(values, codes.SCT.Volume).value == pytest.approx(
        4 / 3 * np.pi * 15**3 / 1000, rel=0.02
    )
    assert named(values, codes.SCT.LongAxis).value == pytest.approx(30, abs=0.9)
    assert named(values, codes.SCT.ShortAxis).value == pytest.approx(30, abs=0.9)


def test_the_longest_slice_is_the_equator(sphere):
    assert longest_slice(sphere, images()) == 15


def test_a_turned_ellipse_has_its_axes():
    _, y, x = grid((0, 42, 50))
    along, across = (y + x) / np.sqrt(2), (y - x) / np.sqrt(2)
    ellipse = ((along / 20) ** 2 + (across / 8) ** 2 <= 1)[0]
    long, short = diameters_mm(ellipse, SPACING[1:])
    assert long == pytest.approx(40, abs=0.9)
    assert short == pytest.approx(16, abs=0.9)


def test_one_pixel_is_as_long_as_a_pixel():
    outline = np.zeros((5, 5), bool)
    outline[2, 2] = True
    assert diameters_mm(outline, (0.7, 0.9)) == pytest.approx((0.9, 0.7))


def test_a_row_of_pixels_is_as_long_as_the_row():
    outline = np.zeros((5, 12), bool)
    outline[2, 1:11] = True
    assert diameters_mm(outline, (0.7, 0.9))[0] == pytest.approx(9.0)


def test_intensity_is_in_hounsfield_units_on_ct(sphere):
    values = measurements(sphere, 15, images())
    mean = named(values, codes.DCM.MeanAttenuationCoefficient)
    assert mean.value == pytest.approx(60, abs=1)
    assert mean.unit == codes.UCUM.HounsfieldUnit
    assert named(values, codes.DCM.StandardDeviationOfAttenuationCoefficient).value == (
        pytest.approx(10, abs=0.5)
    )


def test_intensity_has_no_unit_elsewhere(sphere):
    mean = named(measurements(sphere, 15, images("MR")), codes.SCT.Mean)
    assert mean.unit == codes.UCUM.NoUnits


@pytest.mark.parametrize(
    ("modality", "attributes", "unit"),
    [
        ("CT", {"RescaleType": "HU"}, "[hnsf'U]"),
        ("CT", {"RescaleType": "MGML"}, "mg/ml"),
        ("CT", {"RescaleType": "PCT"}, "%"),
        ("CT", {"RescaleType": "ED"}, "10*23/ml"),
        ("CT", {"RescaleType": "Z_EFF"}, "1"),
        ("CT", {"RescaleType": "US"}, "1"),
        ("PT", {"Units": "BQML", "RescaleType": "BQML"}, "Bq/ml"),
        ("PT", {"Units": "GML"}, "g/ml{SUVbw}"),
        ("PT", {"Units": "GML", "SUVType": "LBM"}, "g/ml{SUVlbm}"),
        ("PT", {"Units": "GML", "SUVType": "OF_OUR_OWN"}, "1"),
        ("PT", {"Units": "CM2ML", "SUVType": "BSA"}, "cm2/ml{SUVbsa}"),
        ("PT", {"Units": "CNTS"}, "{counts}"),
        ("PT", {"Units": "NONE"}, "1"),
        ("PT", {}, "1"),
        ("MR", {"RescaleType": "HU"}, "1"),
    ],
)
def test_intensity_is_in_the_unit_that_the_header_states(sphere, modality, attributes, unit):
    values = measurements(sphere, 15, images(modality, **attributes))
    names = (codes.DCM.MeanAttenuationCoefficient, codes.SCT.Mean)
    (mean,) = (each for each in values if each.name in names)
    assert (mean.unit.value, mean.unit.scheme_designator) == (unit, "UCUM")
    assert (mean.name == names[0]) == (unit == "[hnsf'U]")


def test_images_in_different_units_have_none(sphere):
    both = images(RescaleType="HU").datasets + images(RescaleType="MGML").datasets
    assert unit_of(replace(images(), datasets=both)) == codes.UCUM.NoUnits


def test_frames_state_their_units_themselves():
    image, group, transformation = Dataset(), Dataset(), Dataset()
    image.Modality, transformation.RescaleType = "CT", "MGML"
    group.PixelValueTransformationSequence = [transformation]
    image.PerFrameFunctionalGroupsSequence = [group, group]
    assert unit_of(replace(images(), datasets=(image,))).value == "mg/ml"


def test_without_geometry_there_are_no_sizes(sphere):
    values = measurements(sphere, 15, images(affine=False))
    assert {each.unit.value for each in values} == {"[hnsf'U]"}


def test_millilitres_are_counted_in_voxels():
    mask = np.zeros(SHAPE, bool)
    mask[2:5, 10:20, 10:20] = True
    assert volume_ml(mask, images()) == pytest.approx(300 * 2 * 0.7 * 0.9 / 1000)

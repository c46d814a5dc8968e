"""A series becomes a volume by its geometry alone, or is refused with the reason."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

from dicom_node.domain.errors import IncompleteStudy, UndecodablePixels, Unusable
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import AXIAL, make_study, save_study
from workers.volume import read_series, read_views

SLICES = 6
TURN = np.radians(20)
OBLIQUE = (
    (float(np.cos(TURN)), float(np.sin(TURN)), 0.0),
    (0.0, 0.0, -1.0),
)


@pytest.fixture(scope="module")
def source():
    return phantom(5, lesions=0, slices=SLICES, size=64)


def read(instances: Sequence[Dataset], folder: Path):
    return read_series(save_study(instances, folder))


def refused(instances: Sequence[Dataset], folder: Path) -> str:
    with pytest.raises(Unusable) as caught:
        read(instances, folder)
    return caught.value.code


def test_pixels_are_hounsfield_units_in_the_order_of_the_slices(source, tmp_path):
    images = read(make_study(source), tmp_path)
    np.testing.assert_array_equal(images.pixels, source.hu)
    assert images.pixels.dtype == np.float32
    assert images.spacing_mm == pytest.approx(source.spacing_mm)


def test_the_order_of_the_files_does_not_matter(source, tmp_path):
    instances = make_study(source)
    straight = read(instances, tmp_path / "straight")
    order = np.random.default_rng(1).permutation(SLICES)
    for number, instance in enumerate(instances):
        instance.InstanceNumber = int(order[number])
    shuffled = read([instances[n] for n in order], tmp_path / "shuffled")
    np.testing.assert_array_equal(shuffled.pixels, straight.pixels)
    np.testing.assert_array_equal(shuffled.affine, straight.affine)
    assert shuffled.frames == straight.frames
    assert [d.SOPInstanceUID for d in shuffled.datasets] == [
        f.sop_instance_uid for f in shuffled.frames
    ]


@pytest.mark.parametrize("reverse", [False, True], ids=["along", "against"])
@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_indices_lead_to_the_positions_in_the_headers(source, tmp_path, directions, reverse):
    instances = make_study(source, directions=directions, reverse=reverse)
    images = read(instances, tmp_path)
    where = {i.SOPInstanceUID: i for i in instances}
    for number, frame in enumerate(images.frames):
        header = where[frame.sop_instance_uid]
        corner = [float(v) for v in header.ImagePositionPatient]
        assert images.to_patient((number, 0, 0)) == pytest.approx(corner, abs=1e-3)
        row, column = np.array(directions)
        step = source.spacing_mm[1]
        there = corner + row * step * 7 + column * step * 3
        assert images.to_patient((number, 3, 7)) == pytest.approx(there.tolist(), abs=1e-3)
    first = where[images.frames[0].sop_instance_uid].InstanceNumber
    assert first == (SLICES if reverse else 1)


def test_headers_are_kept_without_their_pixels(source, tmp_path):
    images = read(make_study(source), tmp_path)
    assert len(images.datasets) == SLICES
    assert not any("PixelData" in dataset for dataset in images.datasets)


def test_a_missing_slice_is_refused(source, tmp_path):
    instances = make_study(source)
    assert refused(instances[:2] + instances[3:], tmp_path) == "SLICE_SET"


def test_a_repeated_position_is_refused(source, tmp_path):
    instances = make_study(source)
    instances[1].ImagePositionPatient = instances[2].ImagePositionPatient
    assert refused(instances, tmp_path) == "SLICE_SET"


def test_mixed_orientation_is_refused(source, tmp_path):
    instances = make_study(source)
    instances[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    assert refused(instances, tmp_path) == "SLICE_SET"


def test_mixed_pixel_spacing_is_refused(source, tmp_path):
    instances = make_study(source)
    instances[0].PixelSpacing = [1, 1]
    assert refused(instances, tmp_path) == "SLICE_SET"


def test_a_tilted_gantry_is_refused(source, tmp_path):
    instances = make_study(source)
    for number, instance in enumerate(instances):
        x, y, z = instance.ImagePositionPatient
        instance.ImagePositionPatient = [x, y + 2.0 * number, z]
    assert refused(instances, tmp_path) == "GEOMETRY"


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
def test_ct_without_geometry_is_refused(source, tmp_path, keyword):
    instances = make_study(source)
    delattr(instances[2], keyword)
    assert refused(instances, tmp_path) == "GEOMETRY"


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_position_that_is_no_number_is_refused(source, tmp_path):
    instances = make_study(source)
    instances[2].ImagePositionPatient = ["nan", "0", "0"]
    assert refused(instances, tmp_path) == "VALUE"


def test_two_patients_in_one_series_are_refused(source, tmp_path):
    instances = make_study(source)
    instances[2].PatientID = "SOMEONE-ELSE"
    assert refused(instances, tmp_path) == "PATIENT_MIX"


def test_a_patient_of_two_values_is_no_crash(source, tmp_path):
    instances = make_study(source)
    instances[2].PatientID = ["SOMEONE", "ELSE"]
    assert refused(instances, tmp_path) == "PATIENT_MIX"


def test_two_series_are_refused(source, tmp_path):
    instances = make_study(source)
    instances[2].SeriesInstanceUID = generate_uid(None)
    assert refused(instances, tmp_path) == "SLICE_SET"


def test_a_single_slice_is_as_deep_as_its_header_says(source, tmp_path):
    images = read(make_study(source)[:1], tmp_path)
    assert images.spacing_mm == pytest.approx(source.spacing_mm)


def radiograph(source) -> Dataset:
    instance = make_study(source)[0]
    instance.SOPClassUID = instance.file_meta.MediaStorageSOPClassUID = (
        ComputedRadiographyImageStorage
    )
    del instance.ImagePositionPatient, instance.ImageOrientationPatient
    return instance


@pytest.mark.parametrize("text", [b"abc ", b"1\\2 ", b"9" * 400], ids=["text", "two", "flood"])
@pytest.mark.parametrize("reads", [read_series, read_views])
def test_60_an_instance_number_that_is_none_is_refused(source, tmp_path, text, reads):
    instance = radiograph(source)
    tag = instance["InstanceNumber"].tag
    instance._dict[tag] = RawDataElement(tag, "IS", len(text), text, 0, False, True)
    with pytest.raises(Unusable) as caught:
        reads(save_study([instance], tmp_path))
    assert caught.value.code == "VALUE"


def test_a_view_of_several_frames_is_refused(source, tmp_path):
    """Such as a tomosynthesis beside its mammograms."""
    instance = radiograph(source)
    instance.NumberOfFrames, instance.PixelData = 2, 2 * instance.PixelData
    with pytest.raises(Unusable, match="several frames") as caught:
        read_views(save_study([instance], tmp_path))
    assert caught.value.code == "SLICE_SET"


def test_a_radiograph_has_no_place_in_the_patient(source, tmp_path):
    images = read([radiograph(source)], tmp_path)
    assert images.affine is None
    assert images.to_patient((0, 0, 0)) is None
    assert images.spacing_mm == (1, 1, 1)


def test_nothing_to_read_is_an_incomplete_study():
    with pytest.raises(IncompleteStudy):
        read_series([])


def test_what_is_no_dicom_is_refused(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(b"no DICOM" * 100)
    with pytest.raises(UndecodablePixels) as caught:
        read_series([path])
    assert caught.value.code == "UNPARSEABLE"


def test_errors_hold_uids_and_no_header_values(source, tmp_path):
    instances = make_study(source, attributes={"PatientName": "Secret^Name", "PatientID": "777"})
    with pytest.raises(Unusable) as caught:
        read(instances[:2] + instances[3:], tmp_path)
    assert instances[0].SeriesInstanceUID in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert "777" not in str(caught.value).replace(instances[0].SeriesInstanceUID, "")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("dicom-dicom2nifti/failing/gantrytilting/001", "GEOMETRY"),
        ("dicom-dicom2nifti/failing/sliceincrement/001", "SLICE_SET"),
        ("dicom-dicom2nifti/failing/sliceorientation/001", "SLICE_SET"),
        ("dicom-dicom2nifti/generic/rgb/001", "UNSUPPORTED"),
        ("series-mr-nih-ge-siemens/20180918GE/mr_0004", "SLICE_SET"),
    ],
)
def test_real_series_that_are_no_volume_are_refused(shared_data, folder, code):
    with pytest.raises(Unusable) as caught:
        read_series(sorted((shared_data / folder).glob("*.dcm")))
    assert caught.value.code == code


@pytest.mark.shared
@pytest.mark.parametrize(
    "codec", ["compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls"]
)
def test_one_real_volume_in_many_codecs_is_one_volume(shared_data, codec):
    generic = shared_data / "dicom-dicom2nifti" / "generic"
    plain = read_series(sorted((generic / "compressed_rle/001").glob("*.dcm")))
    images = read_series(sorted((generic / codec / "001").glob("*.dcm")))
    np.testing.assert_array_equal(images.pixels, plain.pixels)
    np.testing.assert_allclose(images.affine, plain.affine)


@pytest.mark.shared
def test_a_multi_frame_image_is_the_volume_of_its_single_frames(shared_data):
    folder = shared_data / "dicom-dcmqi" / "segmentations" / "24x38x3"
    single = read_series(sorted((folder / "image").glob("*.dcm")))
    several = read_series(sorted((folder / "multiframe").glob("*.dcm")))
    np.testing.assert_array_equal(several.pixels, single.pixels)
    np.testing.assert_allclose(several.affine, single.affine, atol=1e-4)
    assert sorted(frame.frame_number for frame in several.frames) == [1, 2, 3]
    assert len(several.datasets) == 1

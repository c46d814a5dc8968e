"""NIfTI files are read as DICOM has the same images, whichever way their axes run."""

import pytest
import SimpleITK

from dicom_node.domain.errors import ConfigurationError
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.training.dataset import Example
from workers.training.nifti import read_volume
from workers.training.reading import read_images, read_mask


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder of DICOM files, and the same as SimpleITK reads it."""
    folder = tmp_path_factory.mktemp("series")
    files = save_study(make_study(phantom(1, slices=4, size=32)), folder)
    placed = sorted(files, key=lambda file: SimpleITK.ReadImage(str(file)).GetOrigin()[2])
    image = SimpleITK.ReadImage([str(file) for file in placed], SimpleITK.sitkFloat32)
    return folder, image


def case(image, mask=None):
    return Example("one", image, frozenset({"Lesion"}), "1", mask=mask)


def written(image, path):
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("way", ["LPS", "LAS", "RPI", "RAS", "SPL", "PIR"])
def test_a_mask_lies_where_its_header_says_and_not_as_its_pixels_run(series, tmp_path, way):
    folder, image = series
    drawn = image > 60
    turned = written(SimpleITK.DICOMOrient(drawn, way), tmp_path / "mask.nii.gz")
    mask = read_mask(case(folder, turned), read_images(case(folder)))
    assert (mask == SimpleITK.GetArrayFromImage(drawn).astype(bool)).all()
    assert 0 < mask.sum() < mask.size
    assert not (mask == mask[:, ::-1]).all()


def test_masks_of_single_images_lie_where_their_headers_say_too(series, tmp_path):
    folder, image = series
    drawn = image > 60
    files = sorted(folder.rglob("*.dcm"), key=lambda f: SimpleITK.ReadImage(str(f)).GetOrigin()[2])
    for number, file in enumerate(files):
        one = SimpleITK.DICOMOrient(drawn[:, :, number : number + 1], "LAS")
        place = tmp_path / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        written(one, place.with_name(f"{place.name}.nii"))
    mask = read_mask(case(folder, tmp_path), read_images(case(folder)))
    assert (mask == SimpleITK.GetArrayFromImage(drawn).astype(bool)).all()


def test_a_mask_that_lies_beside_its_images_is_refused(series, tmp_path):
    folder, image = series
    drawn = image > 60
    drawn.SetOrigin([value + 30 for value in image.GetOrigin()])
    mask = written(drawn, tmp_path / "mask.nii.gz")
    with pytest.raises(ConfigurationError, match=r"mask of one lies up to 5\d\.\d mm beside"):
        read_mask(case(folder, mask), read_images(case(folder)))


def test_a_mask_that_says_no_place_is_taken_by_its_pixels(series, tmp_path):
    folder, image = series
    drawn = SimpleITK.GetArrayFromImage(image) > 60
    mask = written(SimpleITK.GetImageFromArray(drawn.astype("u1")), tmp_path / "mask.nii.gz")
    assert (read_mask(case(folder, mask), read_images(case(folder))) == drawn).all()


@pytest.mark.parametrize("way", ["LAS", "RPI", "RAS"])
def test_images_run_as_in_dicom(series, tmp_path, way):
    folder, image = series
    file = written(SimpleITK.DICOMOrient(image, way), tmp_path / "image.nii.gz")
    one, other = read_images(case(file)), read_images(case(folder))
    assert (one.pixels == other.pixels).all()
    assert one.affine == pytest.approx(other.affine, abs=1e-3)


@pytest.mark.parametrize(
    ("stored", "read"), [("RSA", "LIP"), ("LIP", "LIP"), ("ASL", "PIR"), ("PIR", "PIR")]
)
def test_slices_stay_those_of_the_file(series, tmp_path, stored, read):
    _, image = series
    file = written(SimpleITK.DICOMOrient(image, stored), tmp_path / "image.nii.gz")
    wanted = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, read))
    assert (read_volume(file)[0] == wanted).all()


@pytest.mark.parametrize(
    "several",
    [lambda image: SimpleITK.JoinSeries([image, image]), lambda image: image[:, :, 0]],
)
def test_what_is_no_volume_is_refused(series, tmp_path, several):
    file = written(several(series[1]), tmp_path / "image.nii.gz")
    with pytest.raises(ConfigurationError, match="three axes"):
        read_images(case(file))


def test_a_file_that_breaks_off_is_refused_by_name(tmp_path):
    (tmp_path / "image.nii.gz").write_bytes(b"half a file")
    with pytest.raises(ConfigurationError, match=r"image\.nii\.gz cannot be read"):
        read_images(case(tmp_path / "image.nii.gz"))

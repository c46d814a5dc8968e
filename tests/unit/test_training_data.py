"""A data set is read as its table says, and a split that leaks a patient is refused."""

import csv

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from dicom_node.domain.errors import ConfigurationError, UnsupportedGeometry
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.training.checkpoint import Checkpoint
from workers.training.dataset import read_data
from workers.training.reading import read_images, read_mask, read_parts


def write_table(folder, rows):
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_image(path, value=7, shape=(6, 8)):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def cases(folder, rows):
    for number, row in enumerate(rows):
        write_image(folder / row["image"], value=number)
    write_table(folder, rows)
    return read_data(folder)


def test_a_table_names_images_labels_and_subgroups(tmp_path):
    write_image(tmp_path / "images" / "7.png")
    write_image(tmp_path / "masks" / "7.png", value=255)
    row = {"id": "7", "name": "Lesion; Cyst", "patient": "a", "fold": "2", "sex": "F", "age": ""}
    write_table(tmp_path, [row])
    (example,) = read_data(tmp_path)
    assert example.labels == {"Lesion", "Cyst"}
    assert (example.patient, example.fold, dict(example.facts)) == ("a", "2", {"sex": "F"})
    images = read_images(example, spacing_mm=0.5)
    assert images.pixels.shape == (1, 6, 8)
    assert images.spacing_mm[1:] == (0.5, 0.5)
    assert read_mask(example, images).all()


def test_a_patient_in_two_folds_is_refused(tmp_path):
    row = {"label": "", "patient": "a"}
    with pytest.raises(ConfigurationError, match="1 patient is in more than one fold") as refused:
        cases(
            tmp_path,
            [{"image": "1.png", "fold": "1", **row}, {"image": "2.png", "fold": "2", **row}],
        )
    assert refused.value.code == "DATA_LEAK"


def test_an_image_in_two_folds_is_refused_where_no_patient_is_named(tmp_path):
    for name in ("1.png", "2.png"):
        write_image(tmp_path / name)
    write_table(tmp_path, [{"image": f"{n}.png", "label": "", "fold": str(n)} for n in (1, 2)])
    with pytest.raises(ConfigurationError, match="image is in more than one fold"):
        read_data(tmp_path)


@pytest.mark.parametrize("patients", [("a", "b"), ("", "")])
@pytest.mark.parametrize("name", ["2.png", "2.tif", "colour.png"])
def test_the_same_pixels_in_another_file_are_the_same_image(tmp_path, name, patients):
    write_image(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as image:
        image.convert("RGB" if name == "colour.png" else "L").save(tmp_path / name)
    named = zip(("1.png", name), patients, "12", strict=True)
    rows = [{"image": i, "label": "", "patient": p, "fold": fold} for i, p, fold in named]
    write_table(tmp_path, rows)
    with pytest.raises(ConfigurationError, match="1 image is in more than one fold") as refused:
        read_data(tmp_path)
    assert refused.value.code == "DATA_LEAK"
    write_table(tmp_path, [{**row, "fold": "1"} for row in rows])
    assert len(read_data(tmp_path)) == 2


def renamed(instances):
    """The same images with other identities, as of a second anonymising."""
    for number, instance in enumerate(instances, 1):
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
    return instances


@pytest.mark.parametrize(
    "second",
    [lambda given: given[1:], lambda given: renamed(given)[::-1]],
    ids=["some of its images", "other UIDs"],
)
def test_dicom_folders_that_name_nobody_and_share_images_are_refused(tmp_path, second):
    given = make_study(phantom(1, slices=3, size=64), attributes={"PatientID": ""})
    save_study(given, tmp_path / "one")
    save_study(second(given), tmp_path / "two")
    other = make_study(phantom(2, slices=3, size=64), attributes={"PatientID": ""})
    save_study(other, tmp_path / "three")
    rows = [{"image": name, "label": "", "fold": fold} for name, fold in (("one", 1), ("two", 2))]
    write_table(tmp_path, rows)
    with pytest.raises(ConfigurationError, match=r"images? (is|are) in more than one fold"):
        read_data(tmp_path)
    write_table(tmp_path, [rows[0], {**rows[1], "image": "three"}])
    assert {example.patient for example in read_data(tmp_path)} == {None}


def test_a_volume_that_is_packed_differently_is_the_same_volume(tmp_path):
    volume = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    for name in ("a.nii", "b.nii.gz"):
        SimpleITK.WriteImage(volume, str(tmp_path / name))
    write_table(
        tmp_path,
        [{"image": n, "label": "", "fold": n[0], "patient": n[0]} for n in ("a.nii", "b.nii.gz")],
    )
    with pytest.raises(ConfigurationError, match="image is in more than one fold"):
        read_data(tmp_path)


def test_images_that_nobody_is_named_for_are_not_shared_out(tmp_path):
    with pytest.raises(ConfigurationError, match="column patient, or fold"):
        cases(tmp_path, [{"image": "1.png", "label": ""}])


def test_patients_are_shared_out_over_folds_and_always_alike(tmp_path):
    rows = [{"image": f"{n}.png", "label": "", "patient": f"p{n // 2}"} for n in range(40)]
    first, again = cases(tmp_path, rows), read_data(tmp_path)
    assert first == again
    assert len({example.fold for example in first}) > 2
    assert all(a.fold == b.fold for a, b in zip(first[::2], first[1::2], strict=True))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "../out.png", "label": "", "fold": "1"}, "which is not in it"),
        ({"image": "none.png", "label": "", "fold": "1"}, "which is not in it"),
        ({"image": "1.png", "fold": "1"}, "column label"),
        ({"label": "", "fold": "1"}, "column image"),
        ({"image": "1.png", "label": "", "fold": "1", "spacing_mm": "0,5"}, "spacing_mm '0,5'"),
        ({"image": "1.png", "label": "", "fold": "1", "spacing_mm": "0"}, "spacing_mm '0'"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused_by_name(tmp_path, row, message):
    home = tmp_path / "data"
    home.mkdir()
    write_image(home / "1.png")
    write_image(tmp_path / "out.png")
    write_table(home, [row])
    with pytest.raises(ConfigurationError, match=message):
        read_data(home)


TABLES = {
    "a spreadsheet of another country": 'Image;Label;Patient\r\n1.png;"A;B";a\r\n',
    "tabs": "image\tlabel\tpatient\n1.png\tA;B\ta\n",
    "a mark in front, and rows that say nothing": "\ufeffimage,label,patient\n1.png,A;B,a\n,,\n\n",
    "paths of Windows": "image,label,patient\n.\\1.png,A;B,a\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_table_is_read_as_people_write_it(tmp_path, text):
    write_image(tmp_path / "1.png")
    (tmp_path / "data.csv").write_bytes(text.encode())
    (example,) = read_data(tmp_path)
    assert example.image == (tmp_path / "1.png").resolve()
    assert (example.labels, example.patient) == ({"A", "B"}, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label,patient\n1.png,,Mü\n".encode("latin-1"), "no UTF-8"),
        (b"", "no rows"),
        (b"image,label\n,\n", "no rows"),
        (b"image,label,label\n1.png,A,B\n", "two columns label"),
        (b"image,patient,label\n1.png,Doe, John,A\n", "row of 1.png has 4 values.*3 columns"),
        (b"image,label,patient\n1.png,A,a\n1.png,B,a\n", "1.png has more than one row"),
        (b"image,label,fold\n1.png,A,1\n2.png,B,\n", "1 of 2 rows of the table have no fold"),
        (b"image,label,patient,fold\n1.png,A,p 1,1\n2.png,B,P  1 ,2\n", "1 patient is in more"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(tmp_path, text, message):
    for number, name in enumerate(("1.png", "2.png")):
        write_image(tmp_path / name, value=number)
    (tmp_path / "data.csv").write_bytes(text)
    with pytest.raises(ConfigurationError, match=message):
        read_data(tmp_path)


def test_an_id_is_the_whole_of_a_name(tmp_path):
    for value, name in enumerate(("1.2.png", "1.png", "1.20.png")):
        write_image(tmp_path / "images" / name, value=value)
    write_table(tmp_path, [{"id": i, "label": "", "patient": "a"} for i in ("1", "1.2")])
    assert [example.image.name for example in read_data(tmp_path)] == ["1.png", "1.2.png"]
    write_image(tmp_path / "images" / "1.tif")
    with pytest.raises(ConfigurationError, match=r"1\.png and 1\.tif are both called as the id 1"):
        read_data(tmp_path)


def test_a_folder_that_is_no_series_is_refused_by_its_row(tmp_path):
    for number in (1, 2):
        save_study(make_study(phantom(number, slices=2, size=32)), tmp_path / "one" / str(number))
    write_table(tmp_path, [{"image": "one", "label": "Lesion"}])
    (example,) = read_data(tmp_path)
    with pytest.raises(UnsupportedGeometry, match=r"^one: .*SeriesInstanceUID") as refused:
        read_images(example)
    assert refused.value.code == "SLICE_SET"


def test_a_folder_of_dicom_files_says_who_it_is(tmp_path):
    files = save_study(make_study(phantom(1, slices=3, size=64)), tmp_path / "one")
    (tmp_path / "one" / ".DS_Store").write_bytes(b"left by a file manager")
    write_table(tmp_path, [{"image": "one", "label": "Lesion"}])
    (example,) = read_data(tmp_path)
    assert example.patient
    assert example.facts["manufacturer"]
    assert len(read_images(example).frames) == len(files)


def test_a_nifti_volume_lies_where_its_header_says(tmp_path):
    values = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    volume = SimpleITK.GetImageFromArray(values)
    volume.SetSpacing((0.5, 0.6, 2.0))
    volume.SetOrigin((10.0, 20.0, 30.0))
    SimpleITK.WriteImage(volume, str(tmp_path / "a.nii.gz"))
    SimpleITK.WriteImage(SimpleITK.Cast(volume > 30, SimpleITK.sitkUInt8), str(tmp_path / "m.nii"))
    write_table(tmp_path, [{"image": "a.nii.gz", "mask": "m.nii", "label": "", "patient": "a"}])
    (example,) = read_data(tmp_path)
    images = read_images(example)
    assert (images.pixels == values).all()
    assert images.spacing_mm == pytest.approx((2.0, 0.6, 0.5))
    assert images.to_patient((2, 3, 4)) == pytest.approx((12.0, 21.8, 34.0))
    assert (read_mask(example, images) == (values > 30)).all()


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_image(tmp_path / "m.png", shape=(5, 8))
    (example,) = cases(tmp_path, [{"image": "1.png", "label": "", "fold": "1", "mask": "m.png"}])
    with pytest.raises(ConfigurationError, match="same pixels"):
        read_mask(example, read_images(example))


def test_a_mask_that_was_blurred_is_refused(tmp_path):
    write_image(tmp_path / "m.jpg")
    (example,) = cases(tmp_path, [{"image": "1.png", "label": "", "fold": "1", "mask": "m.jpg"}])
    with pytest.raises(ConfigurationError, match="save masks as PNG"):
        read_mask(example, read_images(example))


def test_a_mask_with_a_palette_is_read_by_its_numbers_not_by_its_colours(tmp_path):
    """Yellow and blue are numbers 2 and 1, and no shades of grey; black may be number 1."""
    drawn = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 3, "P")
    drawn.putpalette([9, 9, 9, 0, 0, 0, 255, 255, 0])
    drawn.save(tmp_path / "m.png")
    (example,) = cases(tmp_path, [{"image": "1.png", "label": "", "fold": "1", "mask": "m.png"}])
    images = read_images(example)
    first, second = read_parts(example, images, 2)
    assert (first[0] == (np.asarray(drawn) == 1)).all()
    assert (second[0] == (np.asarray(drawn) == 2)).all()
    assert read_mask(example, images).sum() == 32


def test_a_mask_that_is_drawn_in_transparency_is_refused(tmp_path):
    Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(tmp_path / "m.png")
    (example,) = cases(tmp_path, [{"image": "1.png", "label": "", "fold": "1", "mask": "m.png"}])
    with pytest.raises(ConfigurationError, match="drawn in transparency"):
        read_mask(example, read_images(example))


def test_a_photograph_that_viewers_turn_is_refused(tmp_path):
    """Its mask was drawn on what a viewer shows."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "p.jpg", exif=exif)
    write_table(tmp_path, [{"image": "p.jpg", "label": "", "fold": "1"}])
    (example,) = read_data(tmp_path)
    with pytest.raises(ConfigurationError, match="EXIF Orientation"):
        read_images(example)


def test_a_file_of_several_images_is_refused_instead_of_read_in_part(tmp_path):
    pages = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (1, 2)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    write_table(tmp_path, [{"image": "s.tif", "label": "", "fold": "1"}])
    (example,) = read_data(tmp_path)
    with pytest.raises(ConfigurationError, match=r"s\.tif holds 2 images"):
        read_images(example)


class Variable:
    def __init__(self, value):
        self.value = np.array(value)

    def numpy(self):
        return self.value

    def assign(self, value):
        self.value = value


def test_a_training_goes_on_from_where_it_stopped(tmp_path):
    kept = Checkpoint(tmp_path / "new" / "state.npz", "seed 0")
    assert kept.restore([Variable(1.0)]) == 0
    kept.save(300, [Variable([1.0, 2.0]), Variable(3)])
    fresh = [Variable([0.0, 0.0]), Variable(0)]
    assert kept.restore(fresh) == 300
    assert (fresh[0].value.tolist(), int(fresh[1].value)) == ([1.0, 2.0], 3)


def test_the_state_of_another_training_is_not_taken_up(tmp_path):
    Checkpoint(tmp_path / "state.npz", "seed 0").save(300, [Variable(1.0)])
    with pytest.raises(ConfigurationError, match="another training"):
        Checkpoint(tmp_path / "state.npz", "seed 1").restore([Variable(1.0)])

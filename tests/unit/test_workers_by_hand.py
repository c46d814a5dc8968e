"""A folder as people have it: copies, a DICOMDIR, a file that was cut off, results of before."""

import shutil

import pydicom
import pytest

from dicom_node.domain.errors import ConfigurationError, UnreadableDataset
from dicom_node.send.command import dicom_files
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.by_hand import _kept, analyse_folder


@pytest.fixture
def study(tmp_path):
    return save_study(make_study(phantom(1, slices=3, size=64)), tmp_path / "study")


def kept(files, tmp_path):
    return _kept(InstanceStore(tmp_path / "store"), dicom_files(files[0].parent))


def test_copies_and_a_dicomdir_change_nothing(study, tmp_path):
    shutil.copy(study[0], study[0].with_name("copy.dcm"))
    study[0].with_name("DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert len(kept(study, tmp_path)) == 3


def test_a_file_that_cannot_be_read_is_named(study, tmp_path):
    study[1].write_bytes(study[1].read_bytes()[:-100])
    with pytest.raises(UnreadableDataset, match=f"{study[1].name}: the last element is cut off"):
        kept(study, tmp_path)


def test_two_files_that_say_they_are_the_same_image_are_named(study, tmp_path):
    other = pydicom.dcmread(study[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(study[0].with_name("other.dcm"))
    with pytest.raises(ConfigurationError, match=r"0001\.dcm and .*other\.dcm have the same SOP"):
        kept(study, tmp_path)


def test_results_are_refused_a_place_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(ConfigurationError, match="name a"):
            analyse_folder(tmp_path / "none", None, tmp_path / place, None)


def test_results_of_another_study_do_not_stay_beside_the_new(tmp_path, monkeypatch):
    from workers import bootstrap

    for name in ("01-segmentation.dcm", "mine.dcm"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(bootstrap, "write_results", lambda *_: [])
    monkeypatch.setattr(bootstrap, "report_html", lambda _: "")
    bootstrap.write_folder(None, tmp_path, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.dcm", "report.html"]

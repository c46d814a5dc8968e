"""Arrays of a bundle come back as they were written, and bring neither code nor floods."""

import io
import zipfile

import numpy as np
import pytest
from damaged_zip import encrypted, torn

from dicom_node.domain.errors import CorruptBundle
from workers.arrays import read_arrays, write_arrays


def code_of(path) -> str:
    with pytest.raises(CorruptBundle) as caught:
        read_arrays(path)
    return caught.value.code


def npy(array, allow_pickle=False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def archive(path, data: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", data)
    return path


def test_arrays_come_back_and_the_same_arrays_give_the_same_bytes(tmp_path):
    arrays = {"mean": np.arange(6, dtype=np.float32).reshape(2, 3), "codes": np.array(["a", "bc"])}
    for name in ("one.npz", "two.npz"):
        write_arrays(tmp_path / name, arrays)
    found = read_arrays(tmp_path / "one.npz")
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in arrays.items()
    }
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_74_pickled_objects_are_refused(tmp_path):
    data = npy(np.array([{"any": "object"}], dtype=object), allow_pickle=True)
    assert code_of(archive(tmp_path / "a.npz", data)) == "BUNDLE_CODE"


def test_73_arrays_that_unpack_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.arrays.MAX_BYTES", 1 << 20)
    path = archive(tmp_path / "a.npz", npy(np.zeros(1 << 19)))
    assert path.stat().st_size < 1 << 16
    assert code_of(path) == "BUNDLE_SIZE"


def test_75_a_header_that_claims_more_than_is_there_is_refused(tmp_path):
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(file, header)
    path = archive(tmp_path / "a.npz", file.getvalue() + bytes(800))
    with pytest.raises(CorruptBundle, match="claims more"):
        read_arrays(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"PK\x03\x04cut"])
def test_74_other_formats_are_refused(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    assert code_of(tmp_path / "a.npz") == "BUNDLE_WEIGHTS"


def test_a_member_that_is_no_array_is_refused(tmp_path):
    assert code_of(archive(tmp_path / "a.npz", b"text")) == "BUNDLE_WEIGHTS"


@pytest.mark.parametrize("damage", [encrypted, torn], ids=["encrypted", "torn"])
def test_75_a_file_that_cannot_be_unpacked_is_refused(tmp_path, damage):
    path = archive(tmp_path / "a.npz", npy(np.arange(64)))
    path.write_bytes(damage(path.read_bytes()))
    assert code_of(path) == "BUNDLE_WEIGHTS"

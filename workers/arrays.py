"""Named arrays of a bundle (``.npz``): looked at before they are read, and never unpickled."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dicom_node.domain.errors import CorruptBundle

Arrays = Mapping[str, NDArray[Any]]
NO_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""Of a zip file that is damaged, encrypted or packed in a way that Python does not know."""
MAX_BYTES = 512 * 2**20
"""Of all arrays of a file together, unpacked."""


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a compressed ``.npz``; the same arrays give the same bytes."""
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> Arrays:
    """The arrays of an ``.npz`` file by name.

    Raises CorruptBundle: BUNDLE_SIZE (more than 512 MiB unpacked), BUNDLE_CODE (pickled objects),
    BUNDLE_WEIGHTS (no ``.npz`` file, or an array that claims more numbers than it has).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise CorruptBundle(f"{path.name} is too large unpacked", code="BUNDLE_SIZE")
            return dict(_members(path, archive))
    except (*NO_ZIP, ValueError, OSError) as error:
        raise _unreadable(path, "is no readable .npz file") from error


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, NDArray[Any]]]:
    for member in archive.infolist():
        with archive.open(member) as file:
            _check_header(path, file, member.file_size)
        with archive.open(member) as file:
            name = member.filename.removesuffix(".npy")
            yield name, np.asarray(npy.read_array(file, allow_pickle=False))


def _check_header(path: Path, file: IO[bytes], size: int) -> None:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in read:
        raise _unreadable(path, "holds arrays in an unknown format")
    shape, _, dtype = read[version](file)
    if dtype.hasobject:
        raise CorruptBundle(
            f"{path.name} holds pickled objects: save plain arrays", code="BUNDLE_CODE"
        )
    if math.prod(shape) * dtype.itemsize > size:
        raise _unreadable(path, "claims more numbers than it has room for")


def _unreadable(path: Path, why: str) -> CorruptBundle:
    return CorruptBundle(
        f"{path.name} {why}: write it with workers.bundle.write_bundle", code="BUNDLE_WEIGHTS"
    )

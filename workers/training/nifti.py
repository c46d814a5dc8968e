"""NIfTI files as DICOM has the same images: slices in order, rows and columns the same way round.

A NIfTI file may run either way along each of its axes, and its header says which; converters such
as dcm2niix turn the rows of axial images. A network that learnt from pixels as they lie in a file
would be given mirror images by a scanner.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError

AS_DICOM: Mapping[str, str] = {
    "S": "LPS", "I": "LPS", "P": "LIP", "A": "LIP", "L": "PIR", "R": "PIR",
}  # fmt: skip
"""Where columns, rows and slices run to, by where slices do: axial, coronal and sagittal images."""
NEAR = 0.5
"""Pixels by which two grids may differ and still be one."""
Affine = NDArray[np.float64]


def read_volume(file: Path) -> tuple[FloatArray, Affine]:
    """(frames, rows, columns) along the file's third axis, and where they lie in the patient.

    A file that says no place (an origin of 0) is taken as it lies. Raises ConfigurationError for a
    file that is no NIfTI, or no volume of single values.
    """
    image = _read(file)
    if _says_place(_affine(image)):
        image = SimpleITK.DICOMOrient(image, AS_DICOM[_runs(image.GetDirection())[2]])
    return SimpleITK.GetArrayFromImage(image), _affine(image)


def read_on(file: Path, name: str, affine: Affine | None) -> FloatArray:
    """A mask on the grid of images that lie at ``affine``, turned as they are.

    By its pixels alone where one of both says no place. Raises ConfigurationError, too, for a mask
    of another grid.
    """
    image = _read(file)
    if affine is None or not _says_place(affine) or not _says_place(_affine(image)):
        return SimpleITK.GetArrayFromImage(image)
    sides = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.DICOMOrient(image, _runs(sides[:, ::-1].ravel().tolist()))
    mask = SimpleITK.GetArrayFromImage(image)
    far = _apart(_affine(image), affine, mask.shape)
    if far > NEAR * np.linalg.norm(affine[:3, 1:3], axis=0).min():
        raise ConfigurationError(
            f"the mask of {name} lies up to {far:.1f} mm beside its images, as its header says: "
            "resample it onto them, or correct its header"
        )
    return mask


def _read(file: Path) -> SimpleITK.Image:
    try:
        image = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        raise ConfigurationError(f"{file.name} cannot be read as NIfTI: write it anew") from error
    axes, values = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if (axes, values) != (3, 1):
        raise ConfigurationError(
            f"{file.name} has {axes} axes and {values} values a voxel: a case is one volume of "
            "three axes and one value; write time points and channels to files of their own"
        )
    volume: SimpleITK.Image = SimpleITK.Cast(image, SimpleITK.sitkFloat32)
    return volume


def _affine(image: SimpleITK.Image) -> Affine:
    """From (frame, row, column) to patient coordinates in mm, as DICOM has them (not RAS)."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, :3], affine[:3, 3] = direction[:, ::-1], image.GetOrigin()
    return affine


def _says_place(affine: Affine) -> bool:
    return bool(affine[:3, 3].any())


def _runs(direction: "tuple[float, ...] | list[float]") -> str:
    """Where columns, rows and slices run to, a letter each."""
    return str(SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction))


def _apart(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """Distance in mm between a corner on one grid and on the other, the largest of all."""
    corners = np.array(np.meshgrid(*[(0, count - 1) for count in shape])).reshape(3, -1)
    ends = np.concatenate([corners, np.ones((1, corners.shape[1]))])
    return float(np.linalg.norm(((one - other) @ ends)[:3], axis=0).max())

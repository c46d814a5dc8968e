"""A case of a data set -> the images that a model is given, and the truth about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import ConfigurationError, DicomNodeError
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelInput
from dicom_node.send.command import dicom_files
from workers.training.dataset import Example
from workers.training.nifti import read_on, read_volume
from workers.volume import read_input, read_series

NIFTI = (".nii", ".nii.gz")
SLICE_MM = 5.0
"""Of an image file whose table does not say how thick a slice it is: as most series in 2-D."""
ORIENTATION, UPRIGHT = 0x0112, 1
"""The tag of EXIF, and its value for pixels that are shown as they are stored."""
OPAQUE = 255
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_images(example: Example, spacing_mm: float | None = None) -> SourceImages:
    """All images of a case; ``spacing_mm`` of an image file's pixels, where its table has none.

    Raises ConfigurationError for a file that is neither NIfTI nor an image, and what
    ``read_series`` raises.
    """
    if example.image.is_dir():
        with _naming(example):
            return read_series(dicom_files(example.image))
    if example.image.name.endswith(NIFTI):
        return _nifti(example.image)
    pixels = _image(example.image)[None]
    spacing = example.spacing_mm or spacing_mm
    affine = None if spacing is None else _flat(spacing, _thickness(example))
    return SourceImages((), _frames(len(pixels)), pixels, affine)


def read_case(example: Example, plan: ModelInput, spacing_mm: float | None) -> SourceImages:
    """The same, as the model reads them.

    Raises ConfigurationError also for views that are no DICOM files, for headers tell them apart.
    """
    if plan.unit != "views":
        return read_images(example, spacing_mm)
    if not example.image.is_dir():
        raise ConfigurationError(
            f"{example.name} is one image, and the model reads several views, which their headers "
            "tell apart: let its row name a folder with the DICOM files of one study"
        )
    with _naming(example):
        return read_input(dicom_files(example.image), plan)


@contextmanager
def _naming(example: Example) -> Iterator[None]:
    """Errors say of which row they are: a UID alone finds no folder."""
    try:
        yield
    except DicomNodeError as error:
        raise type(error)(f"{example.name}: {error}", code=error.code) from error


def read_mask(example: Example, images: SourceImages) -> BoolArray | None:
    """(frames, rows, columns): where the finding is; none where nobody has drawn it.

    Raises ConfigurationError for a mask of another size than its images, or of none of them.
    """
    values = _values(example, images)
    return None if values is None else np.asarray(values > 0)


def _values(example: Example, images: SourceImages) -> FloatArray | None:
    if example.mask is None:
        return None
    if example.mask.is_dir():
        return _masks(example, example.mask, images)
    return _drawn(example, example.mask, images.pixels.shape, images.affine)


def read_parts(example: Example, images: SourceImages, count: int) -> BoolArray | None:
    """(parts, frames, rows, columns): where each of so many things is, by the mask's values.

    The value n means the n-th of them; of one alone all above 0 do. Raises what ``read_mask``
    raises, and ConfigurationError for values that mean none of them.
    """
    values = _values(example, images)
    if values is None:
        return None
    if count == 1:
        return np.asarray(values > 0)[None]
    strange = set(np.unique(values).tolist()) - set(range(count + 1))
    if strange:
        raise ConfigurationError(
            f"the mask of {example.name} has the value {min(strange):g}: write 1 to {count}, in "
            "the order of the manifest, and 0 elsewhere"
        )
    return np.stack([values == number for number in range(1, count + 1)])


def read_reference(
    example: Example, plan: ModelInput, spacing_mm: float | None
) -> SourceImages | None:
    """What a model should make of a case; none where nobody says it. Raises as ``read_case``."""
    if example.reference is None:
        return None
    return read_case(replace(example, image=example.reference), plan, spacing_mm)


def _drawn(
    example: Example, file: Path, shape: tuple[int, ...], affine: NDArray[np.float64] | None
) -> FloatArray:
    nifti = file.name.endswith(NIFTI)
    mask = read_on(file, example.name, affine) if nifti else _image(file, lossless=True)[None]
    if mask.shape != shape:
        raise ConfigurationError(
            f"the mask of {example.name} has the shape {mask.shape}, and its images have "
            f"{shape}: draw it on the same pixels"
        )
    return np.asarray(mask, np.float32)


def _masks(example: Example, folder: Path, images: SourceImages) -> FloatArray:
    """Of a file for each image, called as it is; an image without one shows nothing."""
    files = {_stem(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    whole = np.zeros(images.pixels.shape, np.float32)
    for image in dicom_files(example.image):
        name = image.relative_to(example.image)
        file = files.pop(str(name), None) or files.pop(_stem(name), None)
        if file is not None:
            frames = _frames_of(image, images)
            place = _from(images.affine, frames[0])
            whole[frames] = _drawn(example, file, whole[frames].shape, place)
    if files:
        raise ConfigurationError(
            f"the masks of {example.name} are named {', '.join(sorted(files))}, and no image is: "
            "call each as its image"
        )
    return whole


def _from(affine: NDArray[np.float64] | None, frame: int) -> NDArray[np.float64] | None:
    """Where the images lie from a frame on."""
    if affine is None:
        return None
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 0] * frame
    return moved


def _stem(path: Path) -> str:
    """Without what says which kind of file it is."""
    ending = next((each for each in reversed(NIFTI) if path.name.endswith(each)), path.suffix)
    return str(path)[: len(str(path)) - len(ending)]


def _frames_of(image: Path, images: SourceImages) -> list[int]:
    header = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    uid = str(header.SOPInstanceUID)
    return [n for n, frame in enumerate(images.frames) if frame.sop_instance_uid == uid]


def _image(path: Path, *, lossless: bool = False) -> FloatArray:
    """(rows, columns), grey; of a mask with a palette the numbers of its colours.

    Raises ConfigurationError for a stack, for a JPEG of a mask, and for an image that its viewers
    turn.
    """
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            if count > 1:
                raise ConfigurationError(
                    f"{path.name} holds {count} images: write each to a file of its own, "
                    "or all of them to a NIfTI file"
                )
            if lossless and image.format == "JPEG":
                raise ConfigurationError(
                    f"{path.name} is a JPEG, which blurs what was drawn: save masks as PNG"
                )
            if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                raise ConfigurationError(
                    f"{path.name} is stored turned or mirrored, and says so (EXIF Orientation): "
                    "save it upright, for its mask may not say the same"
                )
            if lossless and _see_through(image):
                raise ConfigurationError(
                    f"{path.name} is drawn in transparency: save masks without it, 0 elsewhere"
                )
            if lossless and image.mode == "P":
                return np.asarray(image, np.float32)
            return np.asarray(image.convert("F"), np.float32)
    except OSError as error:
        raise ConfigurationError(
            f"{path.name} is no image: a data set holds PNG, JPEG, TIFF, NIfTI, or folders of DICOM"
        ) from error


def _see_through(image: Image.Image) -> bool:
    return "A" in image.getbands() and bool((np.asarray(image.getchannel("A")) < OPAQUE).any())


def _nifti(path: Path) -> SourceImages:
    pixels, affine = read_volume(path)
    return SourceImages((), _frames(len(pixels)), pixels, affine)


def _flat(spacing_mm: float, thickness_mm: float) -> NDArray[np.float64]:
    """An axial image at the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = thickness_mm, spacing_mm, spacing_mm
    affine[3, 3] = 1
    return affine


def _thickness(example: Example) -> float:
    """Raises ConfigurationError where the table writes something else."""
    written = (example.facts or {}).get("slice_thickness") or str(SLICE_MM)
    try:
        return float(written)
    except ValueError as error:
        raise ConfigurationError(
            f"{example.name}: slice_thickness is {written!r}, and is a number in mm"
        ) from error


def _frames(count: int) -> tuple[FrameReference, ...]:
    """Made up: evaluation refers to no DICOM image."""
    return tuple(FrameReference(SECONDARY_CAPTURE, f"2.25.{n + 1}") for n in range(count))

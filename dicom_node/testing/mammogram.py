"""Synthetic mammograms: two views of a breast, each an image of a series of its own."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

ROWS, COLUMNS = 96, 72
VIEWS = ("CC", "MLO")
MASS, TISSUE = 1500.0, 1200.0


def breast(seed: int, view: str, *, mass: bool) -> NDArray[np.uint16]:
    """(rows, columns) of one view, 12 bits: the chest wall is at the first column."""
    return breast_and_mass(seed, view, mass=mass)[0]


def breast_and_mass(
    seed: int, view: str, *, mass: bool
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """The same, and where the mass lies in it: within two deviations of its middle."""
    rng = np.random.default_rng([seed, VIEWS.index(view)])
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    height, depth = rng.uniform(34, 44), rng.uniform(48, 64)
    inside = ((rows - ROWS / 2) / height) ** 2 + (columns / depth) ** 2 <= 1
    if view == "MLO":
        inside = inside | (columns < 16 - rows * 0.25)
    image = np.where(inside, TISSUE, 60.0)
    image += np.where(inside, _texture(rng), 0)
    where = np.zeros(image.shape, bool)
    if mass:
        y, x = ROWS / 2 + rng.uniform(-16, 16), rng.uniform(14, 34)
        squared, deviation = (rows - y) ** 2 + (columns - x) ** 2, rng.uniform(3, 5)
        image += MASS * np.exp(-squared / (2 * deviation**2))
        where = squared <= (2 * deviation) ** 2
    image += rng.normal(0, 40, image.shape)
    return np.clip(image, 0, 4095).astype(np.uint16), where


def make_mammograms(
    images: Sequence[tuple[str, str, NDArray[np.uint16]]], *, at: datetime | None = None
) -> list[Dataset]:
    """Instances of a new study from (laterality, view, pixels), each a series of its own."""
    study, at = generate_uid(None), at or datetime.now()
    return [_image(study, number, *image, at) for number, image in enumerate(images, 1)]


def _texture(rng: np.random.Generator) -> NDArray[np.floating]:
    coarse = rng.normal(0, 130, (ROWS // 12, COLUMNS // 12))
    return np.asarray(np.kron(coarse, np.ones((12, 12))))


def _image(
    study: str, number: int, side: str, view: str, pixels: NDArray[np.uint16], at: datetime
) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    data.SOPInstanceUID, data.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    data.StudyInstanceUID = study
    data.PatientName, data.PatientID = "Phantom^Breast", "PHANTOM-QA-2"
    data.PatientBirthDate, data.PatientSex = "19700101", "F"
    data.AccessionNumber, data.StudyID, data.ReferringPhysicianName = "A-0002", "1", ""
    data.StudyDescription, data.SeriesDescription = "Mammogram phantom", f"{side} {view}"
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(data, f"{what}Date", f"{at:%Y%m%d}")
        setattr(data, f"{what}Time", f"{at:%H%M%S}")
    data.Modality, data.SeriesNumber, data.InstanceNumber = "MG", number, 1
    data.Manufacturer, data.PresentationIntentType = "Phantom Works", "FOR PRESENTATION"
    data.BodyPartExamined, data.ImageLaterality, data.ViewPosition = "BREAST", side, view
    data.PatientOrientation = ["A", "F"] if view == "MLO" else ["A", "L" if side == "R" else "R"]
    data.ImagerPixelSpacing = ["2", "2"]
    data.ImageType = ["DERIVED", "PRIMARY"]
    _pixels(data, pixels)
    return data


def _pixels(data: Dataset, pixels: NDArray[np.uint16]) -> None:
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.WindowCenter, data.WindowWidth = "1600", "3200"
    data.PresentationLUTShape, data.BurnedInAnnotation = "IDENTITY", "NO"
    data.PixelData = pixels.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

"""Synthetic CT studies: valid CT Image Storage instances made from a phantom."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.testing.phantom import Phantom

Vector = tuple[float, float, float]

AXIAL: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Direction cosines of a row and of a column (PS3.3 C.7.6.2.1.1)."""
PATIENT: Mapping[str, str] = {
    "PatientName": "Phantom^Trunk",
    "PatientID": "PHANTOM-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "AccessionNumber": "A-0001",
    "StudyID": "1",
    "StudyDescription": "CT trunk phantom",
    "ReferringPhysicianName": "",
}
INTERCEPT = -1024


def make_study(
    source: Phantom,
    *,
    attributes: Mapping[str, object] | None = None,
    directions: tuple[Vector, Vector] = AXIAL,
    origin_mm: Vector = (-180.0, -180.0, 0.0),
    reverse: bool = False,
    at: datetime | None = None,
) -> list[Dataset]:
    """Wrap a phantom as one CT series of a new study.

    ``attributes`` overrides or adds header attributes by keyword. ``directions`` turns the grid in
    the patient; ``reverse`` stacks the slices against the normal of the images. Instances come in
    the order of the phantom's slices, numbered from 1.
    """
    at = at or datetime.now()
    common = _common({**PATIENT, **(attributes or {})}, source, directions, at)
    normal = np.cross(*directions) * (-1 if reverse else 1)
    return [
        _slice(
            common, number, plane, np.asarray(origin_mm) + normal * source.spacing_mm[0] * number
        )
        for number, plane in enumerate(source.hu)
    ]


def file_bytes(instance: Dataset) -> bytes:
    """An instance as the bytes of a DICOM file."""
    buffer = BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def save_study(instances: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write each instance as a DICOM file of the folder; return the paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.dcm" for number in range(1, len(instances) + 1)]
    for instance, path in zip(instances, paths, strict=True):
        path.write_bytes(file_bytes(instance))
    return paths


def _common(
    attributes: Mapping[str, object],
    source: Phantom,
    directions: tuple[Vector, Vector],
    at: datetime,
) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = CTImageStorage
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    data.FrameOfReferenceUID = generate_uid(None)
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(data, f"{what}Date", f"{at:%Y%m%d}")
        setattr(data, f"{what}Time", f"{at:%H%M%S}")
    data.Modality, data.SeriesNumber, data.AcquisitionNumber = "CT", 2, 1
    data.SeriesDescription = "Trunk 5.0 soft tissue"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Manufacturer, data.ManufacturerModelName = "Phantom Works", "Phantom CT"
    data.DeviceSerialNumber, data.SoftwareVersions = "1", "1"
    data.KVP, data.SliceThickness = "120", f"{source.spacing_mm[0]:g}"
    data.PositionReferenceIndicator, data.Laterality = "", ""
    data.PatientPosition = "HFS"
    data.PixelSpacing = [f"{step:.8g}" for step in source.spacing_mm[1:]]
    data.ImageOrientationPatient = [f"{c:.8g}" for direction in directions for c in direction]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = source.hu.shape[1:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(INTERCEPT), "1", "HU"
    data.WindowCenter, data.WindowWidth = "40", "400"
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def _slice(
    common: Dataset, number: int, plane: NDArray[np.int16], position: NDArray[np.floating]
) -> Dataset:
    data = deepcopy(common)
    data.SOPInstanceUID = generate_uid(None)
    data.InstanceNumber = number + 1
    data.ImagePositionPatient = [f"{p:.8g}" for p in position]
    stored = np.clip(plane.astype(np.int32) - INTERCEPT, 0, 4095).astype("<u2")
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = UID(data.SOPClassUID)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data

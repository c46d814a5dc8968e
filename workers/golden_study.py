"""Golden images as a study of DICOM files, so that the whole pipeline can run on them."""

from pathlib import Path

import numpy as np
from pydicom import uid as uids
from pydicom.dataset import Dataset

from dicom_node.domain.images import SourceImages
from dicom_node.testing.phantom import Phantom
from dicom_node.testing.study import make_study, save_study

LEVELS = 65535
SINGLE = {
    uids.EnhancedCTImageStorage: uids.CTImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage: uids.CTImageStorage,
    uids.EnhancedMRImageStorage: uids.MRImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage: uids.MRImageStorage,
    uids.EnhancedPETImageStorage: uids.PositronEmissionTomographyImageStorage,
    uids.LegacyConvertedEnhancedPETImageStorage: uids.PositronEmissionTomographyImageStorage,
}
"""What a frame of a multi-frame class is by itself."""
PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID")


def save_images(images: SourceImages, folder: Path) -> list[Path]:
    """Write images as single-frame files of one series, of a patient who does not exist."""
    pixels = images.pixels
    low = float(np.floor(pixels.min()))
    reach = float(pixels.max()) - low
    slope = 1.0 if _whole(pixels) and reach <= LEVELS else reach / LEVELS
    body = np.zeros(pixels.shape, np.bool_)
    phantom = Phantom(np.zeros(pixels.shape, np.int16), (), body, images.spacing_mm)
    instances = make_study(phantom)
    for number, (instance, header) in enumerate(zip(instances, images.datasets, strict=True)):
        _place(instance, images, number)
        for element in header:
            if element.keyword != "SOPInstanceUID":
                instance[element.tag] = element
        instance.SOPClassUID = SINGLE.get(instance.SOPClassUID, instance.SOPClassUID)
        instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
        stored = np.rint((pixels[number] - low) / slope).astype("<u2")
        instance.BitsStored, instance.HighBit = 16, 15
        instance.RescaleIntercept, instance.RescaleSlope = f"{low:.10g}", f"{slope:.10g}"
        instance.PixelData = stored.tobytes()
    return save_study(instances, folder)


def _whole(pixels: np.ndarray) -> bool:
    return bool((pixels == np.rint(pixels)).all())


def _place(instance: Dataset, images: SourceImages, number: int) -> None:
    """Position and orientation as they were; none where there was no geometry."""
    if images.affine is None:
        for keyword in PLACED:
            delattr(instance, keyword)
        return
    along = images.affine[:3, :3] / images.spacing_mm
    position = images.affine[:3, 3] + images.affine[:3, 0] * number
    instance.ImagePositionPatient = [f"{value:.8g}" for value in position]
    directions = [*along[:, 2], *along[:, 1]]
    instance.ImageOrientationPatient = [f"{value:.8g}" for value in directions]

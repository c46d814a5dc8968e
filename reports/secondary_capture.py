"""RGB Secondary Capture of the key slices: what every PACS shows (PS3.3 A.8.1, C.8.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from reports.case import Case
from reports.compass import edge_letters
from reports.identity import copy_element, identify, image_reference
from reports.pictures import Picture
from reports.settings import SHORT_DISCLAIMER


@dataclass(frozen=True, slots=True)
class SecondaryCaptureWriter:
    """Writes one image for each key slice."""

    kind: ClassVar[ResultKind] = ResultKind.SECONDARY_CAPTURE

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance a key slice; instance numbers follow the order of the report."""
        return [
            ResultInstance(ResultKind.SECONDARY_CAPTURE, _capture(case, picture))
            for picture in case.pictures
        ]


def _capture(case: Case, picture: Picture) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    identify(dataset, case, ResultKind.SECONDARY_CAPTURE, picture.key.number - 1)
    _image(dataset, case, picture)
    _derivation(dataset, case, picture)
    _pixels(dataset, picture.panel)
    return dataset


def _image(dataset: Dataset, case: Case, picture: Picture) -> None:
    source = case.header(picture.key.frame)
    dataset.ConversionType = "SYN"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    letters = edge_letters(case.analysis.images, source)
    dataset.PatientOrientation = [letters[1], letters[3]] if letters else []
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = source.get("RecognizableVisualFeatures") or "NO"
    dataset.ImageComments = f"{SHORT_DISCLAIMER}. {picture.place}"
    _compression(dataset, source)


def _compression(dataset: Dataset, source: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = source.get("LossyImageCompression") or "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in source:
                copy_element(dataset, source, keyword)


def _derivation(dataset: Dataset, case: Case, picture: Picture) -> None:
    explanation = picture.key.explanation
    what = explanation.saliency.method.meaning if explanation else "outlines"
    manifest = case.analysis.manifest
    dataset.DerivationDescription = (
        f"{what} of {manifest.id} for {picture.key.findings[0].target.label}, drawn over the "
        f"windowed source image. {SHORT_DISCLAIMER}"
    )
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    dataset.SourceImageSequence = [image_reference(case, picture.key.frame, purpose)]


def _pixels(dataset: Dataset, panel: Image.Image) -> None:
    pixels = np.asarray(panel, dtype=np.uint8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"

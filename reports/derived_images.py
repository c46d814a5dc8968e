"""A derived image series: what a model made of each source image, in the class of the source.

Each image lies in the plane of its source, on the model's own grid: Pixel Spacing and Image
Position (Patient) say where (PS3.3 C.7.6.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.outputs import Image
from dicom_node.domain.prediction import DerivedImages
from reports.case import Case
from reports.identity import code_item, copy_element, described, identify, image_reference
from reports.language import _
from reports.multiframe import copy_compression
from reports.planes import decimal
from reports.settings import SHORT_DISCLAIMER
from reports.terms import term

KIND = ResultKind.DERIVED_IMAGE
LEFT_OUT = frozenset(
    {
        "PixelData", "PixelDataProviderURL", "IconImageSequence", "ModalityLUTSequence",
        "VOILUTSequence", "SmallestImagePixelValue", "LargestImagePixelValue",
        "SmallestPixelValueInSeries", "LargestPixelValueInSeries", "PixelPaddingValue",
        "PixelPaddingRangeLimit", "DigitalSignaturesSequence", "MACParametersSequence",
        "OriginalAttributesSequence", "ReferencedImageSequence",
        "ReferencedPerformedProcedureStepSequence",
        "PixelAspectRatio", "PresentationIntentType", "RequestAttributesSequence",
    }
)  # fmt: skip
"""Of the source: what is of its pixels, or says who made it."""
OVERLAYS = range(0x6000, 0x6100)


@dataclass(frozen=True, slots=True)
class DerivedImagesWriter:
    """Writes one image for each source image, where the model makes images."""

    kind: ClassVar[ResultKind] = KIND

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return a series in the order of the analysis, or nothing."""
        derived = case.analysis.prediction.derived
        plan = next((o for o in case.analysis.manifest.outputs if isinstance(o, Image)), None)
        if derived is None or plan is None:
            return []
        return [
            ResultInstance(KIND, _image(case, plan, derived, frame))
            for frame in range(len(derived.pixels))
        ]


def _image(case: Case, plan: Image, derived: DerivedImages, frame: int) -> Dataset:
    source = _source(case, frame)
    dataset = _copied(source)
    identify(dataset, case, KIND, frame)
    dataset.Modality = source.Modality
    dataset.SeriesDescription = described(case.maker, term(plan.description))
    dataset.ImageType = ["DERIVED", "SECONDARY", *list(source.get("ImageType") or ())[2:]]
    dataset.DerivationDescription = _("{what} by {model}. {warning}").format(
        what=term(plan.description), model=case.maker.id, warning=_(SHORT_DISCLAIMER)
    )
    dataset.DerivationCodeSequence = [code_item(plan.derivation.code)]
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    dataset.SourceImageSequence = [image_reference(case, frame, purpose)]
    dataset.BurnedInAnnotation = source.get("BurnedInAnnotation") or "NO"
    copy_compression(dataset, source)
    _place(dataset, case, derived, frame)
    _pixels(dataset, source, derived, frame)
    return dataset


def _source(case: Case, frame: int) -> Dataset:
    """The whole header, which holds what its class requires."""
    uid = case.reference(frame).sop_instance_uid
    return next(d for d in case.analysis.images.datasets if d.SOPInstanceUID == uid)


def _copied(source: Dataset) -> Dataset:
    """Standard attributes, without those that another picture or another maker make untrue."""
    dataset = Dataset()
    for element in source:
        overlay = element.tag.group in OVERLAYS
        known = bool(element.keyword) and not element.tag.is_private
        if known and not overlay and element.keyword not in LEFT_OUT:
            copy_element(dataset, source, element.keyword)
    return dataset


def _place(dataset: Dataset, case: Case, derived: DerivedImages, frame: int) -> None:
    """Size and position of the pixels, of images that lie in the patient."""
    images = case.analysis.images
    first = images.to_patient((frame, *derived.offset))
    if first is None:
        return
    spacing = [a * b for a, b in zip(images.spacing_mm[1:], derived.step, strict=True)]
    dataset.PixelSpacing = [decimal(value) for value in spacing]
    dataset.ImagePositionPatient = [decimal(value) for value in first]


def _pixels(dataset: Dataset, source: Dataset, derived: DerivedImages, frame: int) -> None:
    """16 bits, by the source's own rescale; signed in the whole series or not at all."""
    slope = float(source.get("RescaleSlope", 1))
    zero = float(source.get("RescaleIntercept", 0))
    stored = np.rint((derived.pixels[frame] - zero) / slope)
    signed = bool(((derived.pixels - zero) / slope).min() < -0.5)
    limits = np.iinfo(np.int16 if signed else np.uint16)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = source.PhotometricInterpretation
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    whole = np.clip(stored, limits.min, limits.max)
    dataset.PixelData = whole.astype("<i2" if signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"

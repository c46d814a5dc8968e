"""A derived image series: what a model made of each source image, in the class of the source.

Each image lies in the plane of its source, on the model's own grid: Pixel Spacing and Image
Position (Patient) say where (PS3.3 C.7.6.2). Its values are in the units of the source: what is
made of an image for processing is for processing, too, and what is made of one for presentation is
shown as that one is (PS3.3 C.8.11.1.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.outputs import Image
from dicom_node.domain.prediction import DerivedImages
from reports.attributes import UNTRUE_OF_COPIES
from reports.case import Case
from reports.gray_pipeline import WINDOW, window
from reports.identity import code_item, copy_element, described, identify, image_reference
from reports.language import _
from reports.multiframe import copy_compression
from reports.planes import decimal
from reports.settings import SHORT_DISCLAIMER
from reports.terms import term

KIND = ResultKind.DERIVED_IMAGE
PRESENTATION, PROCESSING = "FOR PRESENTATION", "FOR PROCESSING"
SPACINGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing")
"""Of images that lie nowhere in the patient."""


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
    source = case.header(frame)
    dataset = _copied(source)
    identify(dataset, case, KIND, frame)
    dataset.Modality = source.Modality
    dataset.SeriesDescription = described(case.maker, term(plan.description))
    dataset.ImageType = ["DERIVED", "SECONDARY", *_further_types(source)]
    dataset.DerivationDescription = _("{what} by {model}. {warning}").format(
        what=term(plan.description), model=case.maker.id, warning=_(SHORT_DISCLAIMER)
    )
    dataset.DerivationCodeSequence = [code_item(plan.derivation.code)]
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    dataset.SourceImageSequence = [image_reference(case, frame, purpose)]
    if dataset.get("ImageLaterality"):
        dataset.pop("Laterality", None)  # which is of a series, where its images have none
    dataset.BurnedInAnnotation = source.get("BurnedInAnnotation") or "NO"
    copy_compression(dataset, [source])
    _place(dataset, case, derived, frame)
    _intend(dataset, case, frame)
    _pixels(dataset, source, derived, frame)
    return dataset


def _copied(source: Dataset) -> Dataset:
    """Attributes without those that another picture or another maker make untrue."""
    dataset = Dataset()
    for element in source:
        if element.keyword not in UNTRUE_OF_COPIES:
            copy_element(dataset, source, element.keyword)
    return dataset


def _further_types(source: Dataset) -> list[str]:
    """What the class of the source puts behind the first two values, such as AXIAL."""
    stated = source.get("ImageType")
    return list(stated)[2:] if hasattr(stated, "append") else []


def _place(dataset: Dataset, case: Case, derived: DerivedImages, frame: int) -> None:
    """Size and position of the pixels, of images that lie in the patient."""
    images = case.analysis.images
    first = images.to_patient((frame, *derived.offset))
    if first is None:
        _spread(dataset, derived)
        return
    spacing = [a * b for a, b in zip(images.spacing_mm[1:], derived.step, strict=True)]
    dataset.PixelSpacing = [decimal(value) for value in spacing]
    dataset.ImagePositionPatient = [decimal(value) for value in first]


def _spread(dataset: Dataset, derived: DerivedImages) -> None:
    """The distances between pixels that a projection states, on the model's grid."""
    for keyword in filter(dataset.get, SPACINGS):
        stated = zip(dataset[keyword].value, derived.step, strict=True)
        setattr(dataset, keyword, [decimal(float(value) * step) for value, step in stated])


def _intend(dataset: Dataset, case: Case, frame: int) -> None:
    """What the images are for, by their class; those for presentation alone have a window."""
    intent = intent_of(dataset.SOPClassUID)
    if intent:
        dataset.PresentationIntentType = intent
    for keyword in filter(dataset.__contains__, WINDOW if intent == PROCESSING else ()):
        del dataset[keyword]
    if intent == PRESENTATION:
        dataset.update(window(case, frame))


def intent_of(sop_class: UID) -> str:
    """Presentation Intent Type of the classes that come in two (PS3.4 B.5.1.1); else empty."""
    name = sop_class.name.upper()
    return next((intent for intent in (PRESENTATION, PROCESSING) if name.endswith(intent)), "")


def _pixels(dataset: Dataset, source: Dataset, derived: DerivedImages, frame: int) -> None:
    """16 bits, by the source's own rescale; signed in the whole series or not at all.

    Classes with an intent are never signed (PS3.3 C.8.11.3).
    """
    slope = float(source.get("RescaleSlope") or 1)
    zero = float(source.get("RescaleIntercept") or 0)
    stored = np.rint((derived.pixels[frame] - zero) / slope)
    negative = bool(((derived.pixels - zero) / slope).min() < -0.5)
    signed = negative and not intent_of(source.SOPClassUID)
    limits = np.iinfo(np.int16 if signed else np.uint16)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = source.PhotometricInterpretation
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    whole = np.clip(stored, limits.min, limits.max)
    dataset.PixelData = whole.astype("<i2" if signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"

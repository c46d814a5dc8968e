"""Sources of every kind that a model may read, made of one phantom, as files of a study."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import analyses
import highdicom as hd
import numpy as np
from perfect import Truth
from pydicom import uid as uids
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.manifest import ModelManifest
from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import save_study
from workers.volume import read_series

Frame = tuple[str, int | None]
"""SOP Instance UID and frame number."""
GEOMETRY = (
    "FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "SliceLocation",
)  # fmt: skip

RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")


@dataclass(frozen=True)
class Source:
    """Instances, and the slice of the phantom that each of their frames shows."""

    body: Phantom
    instances: Sequence[Dataset]
    slices: Mapping[Frame, int]

    def analysis(self, folder: Path, model: ModelManifest) -> Analysis:
        """What a perfect detector says, after the instances went through files and the reader.

        Raises what ``read_series`` raises.
        """
        truth = self.truth(folder, model)
        return analyses.of_images(truth.images, truth.lesions, model)

    def truth(self, folder: Path, model: ModelManifest) -> Truth:
        """What the reader makes of the files, and what there is in it."""
        images = read_series(save_study(self.instances, folder))
        order = [self.slices[f.sop_instance_uid, f.frame_number] for f in images.frames]
        masks = [mask[order] for mask in self.body.lesions]
        if images.affine is None:
            masks = [_in_one_frame(mask) for mask in masks]
        lesions = [mask for mask in masks if mask.any()]
        return Truth(model, images, lesions, self.body.body[order])


def _in_one_frame(mask: np.ndarray) -> np.ndarray:
    """Frames that are no volume have regions of their own: keep the largest."""
    kept = np.zeros_like(mask)
    frame = mask.sum(axis=(1, 2)).argmax()
    kept[frame] = mask[frame]
    return kept


def body(lesions: int = 2) -> Phantom:
    return phantom(7, lesions=lesions, slices=16, size=64, slice_spacing_mm=7.5)


def stack(given: Phantom, **options: Any) -> Source:
    """CT slices."""
    instances = analyses.study(given, **options)
    slices: dict[Frame, int] = {(str(d.SOPInstanceUID), None): n for n, d in enumerate(instances)}
    return Source(given, instances, slices)


def mr(given: Phantom) -> Source:
    return stack(given, attributes={"SOPClassUID": uids.MRImageStorage, "Modality": "MR"})


def pet(given: Phantom) -> Source:
    """Every slice has a rescale slope of its own."""
    positron = uids.PositronEmissionTomographyImageStorage
    source = stack(given, attributes={"SOPClassUID": positron, "Modality": "PT"})
    for number, instance in enumerate(source.instances):
        instance.RescaleSlope, instance.RescaleIntercept = 1 + number / 4, 0
        instance.RescaleType, instance.Units = "BQML", "BQML"
        del instance.WindowCenter, instance.WindowWidth
    return source


def enhanced(given: Phantom) -> Source:
    """One multi-frame CT."""
    return enhanced_of(given, stack(given))


def enhanced_of(given: Phantom, source: Source) -> Source:
    """The same images as one multi-frame CT whose frames lie in reverse."""
    single = source.instances[::-1]
    multi = hd.legacy.LegacyConvertedEnhancedCTImage(single, "2.25.1002", 2, "2.25.77", 1)
    return _multi_frame(given, multi, single)


def enhanced_mr(given: Phantom) -> Source:
    single = mr(given).instances
    multi = hd.legacy.LegacyConvertedEnhancedMRImage(single, "2.25.1002", 2, "2.25.77", 1)
    return _multi_frame(given, multi, single)


def true_enhanced(given: Phantom, source: Source, sop_class: str) -> Source:
    """The same images as scanners write them: what all frames share stands once, and no legacy."""
    single = source.instances[::-1]
    multi = deepcopy(single[0])
    for keyword in (*GEOMETRY[2:], *RESCALE, "WindowCenter", "WindowWidth", "KVP"):
        multi.pop(keyword, None)
    multi.SOPClassUID = multi.file_meta.MediaStorageSOPClassUID = uids.UID(sop_class)
    multi.SOPInstanceUID = multi.file_meta.MediaStorageSOPInstanceUID = "2.25.78"
    multi.InstanceNumber, multi.NumberOfFrames = 1, len(single)
    multi.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    multi.PixelData = b"".join(each.PixelData for each in single)
    multi.SharedFunctionalGroupsSequence = [_shared(single[0])]
    multi.PerFrameFunctionalGroupsSequence = [
        _frame(each, number) for number, each in enumerate(single, 1)
    ]
    slices = {
        ("2.25.78", frame): int(each.InstanceNumber) - 1 for frame, each in enumerate(single, 1)
    }
    return Source(given, [multi], slices)


def _shared(single: Dataset) -> Dataset:
    thickness = {"SliceThickness": single.SliceThickness}
    measures = {"PixelSpacing": single.PixelSpacing, **thickness}
    facing = {"ImageOrientationPatient": single.ImageOrientationPatient}
    return _item(
        PixelMeasuresSequence=[_item(**measures)],
        PlaneOrientationSequence=[_item(**facing)],
        PixelValueTransformationSequence=[
            _item(**{name: single[name].value for name in RESCALE if name in single})
        ],
    )


def _frame(single: Dataset, number: int) -> Dataset:
    content = {"StackID": "1", "InStackPositionNumber": number, "DimensionIndexValues": [1, number]}
    window = {"WindowCenter": single.WindowCenter, "WindowWidth": single.WindowWidth}
    return _item(
        FrameContentSequence=[_item(**content)],
        PlanePositionSequence=[_item(ImagePositionPatient=single.ImagePositionPatient)],
        FrameVOILUTSequence=[_item(**window)],
    )


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _multi_frame(given: Phantom, multi: Dataset, single: Sequence[Dataset]) -> Source:
    numbers = {_position(d): int(d.InstanceNumber) - 1 for d in single}
    slices = {
        ("2.25.77", frame): numbers[_position(group.PlanePositionSequence[0])]
        for frame, group in enumerate(multi.PerFrameFunctionalGroupsSequence, 1)
    }
    return Source(given, [multi], slices)


def _position(dataset: Dataset) -> tuple[float, ...]:
    return tuple(float(value) for value in dataset.ImagePositionPatient)


def cine(given: Phantom) -> Source:
    """An ultrasound loop of 8 bits, which lies nowhere in the patient."""
    loop = _flat(stack(given).instances[0], uids.UltrasoundMultiFrameImageStorage, "US")
    loop.NumberOfFrames, loop.FrameTime = len(given.hu), 40
    loop.FrameIncrementPointer = 0x00181063
    _set_pixels(loop, np.clip((given.hu + 160) / 400 * 255, 0, 255).astype(np.uint8))
    numbers = range(len(given.hu))
    return Source(given, [loop], {(str(loop.SOPInstanceUID), n + 1): n for n in numbers})


def scintigram(given: Phantom) -> Source:
    """Nuclear medicine from one detector: frames of counts, of which no plane is stated."""
    image = _flat(stack(given).instances[0], uids.NuclearMedicineImageStorage, "NM")
    image.NumberOfFrames, image.FrameIncrementPointer = len(given.hu), 0x00540020
    image.DetectorVector = list(range(1, len(given.hu) + 1))
    counts = (given.hu.astype(np.int32) + 1024).clip(0, 4095).astype("<u2")
    image.PixelData = counts.tobytes()
    numbers = range(len(given.hu))
    return Source(given, [image], {(str(image.SOPInstanceUID), n + 1): n for n in numbers})


def radiograph(
    given: Phantom, sop_class: str, modality: str, views: int = 1, **attributes: Any
) -> Source:
    """Projections: here the slices in which the lesions are largest stand for them."""
    shown = np.argsort([-mask.sum() for mask in given.lesion], kind="stable")[:views]
    instances, slices = [], {}
    for view, number in enumerate(shown.tolist(), 1):
        image = _flat(stack(given).instances[number], sop_class, modality)
        image.InstanceNumber = view
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        if attributes.get("PhotometricInterpretation") == "MONOCHROME1":
            stored = np.frombuffer(image.PixelData, "<u2")
            image.PixelData = (4095 - stored).astype("<u2").tobytes()
            image.WindowCenter = 4095 - image.WindowCenter
        instances.append(image)
        slices[str(image.SOPInstanceUID), None] = number
    return Source(given, instances, slices)


def _flat(instance: Dataset, sop_class: str, modality: str) -> Dataset:
    image = deepcopy(instance)
    for keyword in (*GEOMETRY, *RESCALE):
        if keyword in image:
            delattr(image, keyword)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = uids.UID(sop_class)
    image.Modality, image.PatientOrientation = modality, ["L", "F"]
    image.WindowCenter, image.WindowWidth = 1064, 400
    image.ImagerPixelSpacing = [0.2, 0.2]
    return image


def _set_pixels(image: Dataset, frames: np.ndarray) -> None:
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.WindowCenter, image.WindowWidth = 7, 128, 256
    image.PixelData = frames.tobytes()
    image["PixelData"].VR = "OB"


KINDS: Mapping[str, Callable[[Phantom], Source]] = {
    "CT": stack,
    "legacy CT": enhanced,
    "enhanced CT": lambda given: true_enhanced(given, stack(given), uids.EnhancedCTImageStorage),
    "MR": mr,
    "legacy MR": enhanced_mr,
    "enhanced MR": lambda given: true_enhanced(given, mr(given), uids.EnhancedMRImageStorage),
    "PET": pet,
    "NM": scintigram,
    "US": lambda given: radiograph(given, uids.UltrasoundImageStorage, "US"),
    "US cine": cine,
    "XA": lambda given: radiograph(given, uids.XRayAngiographicImageStorage, "XA"),
    "CR": lambda given: radiograph(
        given, uids.ComputedRadiographyImageStorage, "CR", PhotometricInterpretation="MONOCHROME1"
    ),
    "DX": lambda given: radiograph(given, uids.DigitalXRayImageStorageForPresentation, "DX"),
    "MG": lambda given: radiograph(
        given, uids.DigitalMammographyXRayImageStorageForPresentation, "MG", views=2,
        ImageLaterality="R", BodyPartExamined="BREAST",
    ),
}  # fmt: skip
"""Sources that results can be made of."""

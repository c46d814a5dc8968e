"""RGB Secondary Capture of the key slices: what every PACS shows (PS3.3 A.8.1, A.8.5, C.8.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Answer
from reports.case import Case
from reports.compass import edge_letters
from reports.identity import identify, image_reference, instance_uid
from reports.key_slices import KeySlice
from reports.language import _
from reports.multiframe import copy_compression
from reports.pictures import Picture
from reports.settings import SHORT_DISCLAIMER
from reports.terms import term

MOST_SINGLE = 4
"""More key slices than these become the frames of one image, to be paged through."""
LONG_TEXT = 10240


@dataclass(frozen=True, slots=True)
class SecondaryCaptureWriter:
    """Writes an image for each key slice, or one of many frames where there are many."""

    kind: ClassVar[ResultKind] = ResultKind.SECONDARY_CAPTURE

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return instances whose images follow the order of the report."""
        pictures = case.pictures
        batches = [pictures] if _long(case) else [(picture,) for picture in pictures]
        return [
            ResultInstance(ResultKind.SECONDARY_CAPTURE, _capture(case, index, batch))
            for index, batch in enumerate(batches)
        ]


def captured(case: Case, finding: Answer) -> list[tuple[str, int | None]]:
    """SOP Instance UIDs of the captures that show a finding, and the frame where there are many."""
    numbers = [key.number for key in case.key_slices if any(f is finding for f in key.findings)]
    if _long(case):
        uid = instance_uid(case, ResultKind.SECONDARY_CAPTURE)
        return [(uid, number) for number in numbers]
    kind = ResultKind.SECONDARY_CAPTURE
    return [(instance_uid(case, kind, number - 1), None) for number in numbers]


def _long(case: Case) -> bool:
    return len(case.key_slices) > MOST_SINGLE


def _capture(case: Case, index: int, pictures: Sequence[Picture]) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    identify(dataset, case, ResultKind.SECONDARY_CAPTURE, index)
    _image(dataset, case, pictures)
    _derivation(dataset, case, [picture.key for picture in pictures])
    panels = [np.asarray(picture.panel, dtype=np.uint8) for picture in pictures]
    _pixels(dataset, _same_size(panels))
    if len(pictures) > 1:
        _frames(dataset, len(pictures))
    return dataset


def _image(dataset: Dataset, case: Case, pictures: Sequence[Picture]) -> None:
    sources = [case.header(picture.key.frame) for picture in pictures]
    dataset.ConversionType = "SYN"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    letters = {edge_letters(case.analysis.images, source) for source in sources}
    facing = letters.pop() if len(letters) == 1 else None
    dataset.PatientOrientation = [facing[1], facing[3]] if facing else []
    dataset.BurnedInAnnotation = "YES"
    recognizable = any(source.get("RecognizableVisualFeatures") == "YES" for source in sources)
    dataset.RecognizableVisualFeatures = "YES" if recognizable else "NO"
    places = "; ".join(picture.place for picture in pictures)
    dataset.ImageComments = f"{_(SHORT_DISCLAIMER)}. {places}"[:LONG_TEXT]
    copy_compression(dataset, sources)


def _derivation(dataset: Dataset, case: Case, keys: Sequence[KeySlice]) -> None:
    names = dict.fromkeys(term(key.findings[0].code.meaning) for key in keys)
    said = _("{drawn}; of {model}, for {targets}. {warning}").format(
        drawn=_drawn(next((key for key in keys if key.heat is not None), keys[0])),
        model=case.maker.id,
        targets=_(", ").join(names),
        warning=_(SHORT_DISCLAIMER),
    )
    dataset.DerivationDescription = said[:1024]
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    dataset.SourceImageSequence = [image_reference(case, key.frame, purpose) for key in keys]


def _drawn(key: KeySlice) -> str:
    if key.derived is not None:
        return _("The derived image beside its source")
    explanation = key.explanation
    heated = explanation is not None and explanation.evidence is not None
    what = term(explanation.saliency.method.meaning) if explanation and heated else _("Outlines")
    return _("{what}, drawn over the windowed source image").format(what=what)


def _same_size(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(frames, rows, columns, 3): shorter and narrower panels get a margin in their last colour."""
    rows, columns = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    grown = np.empty((len(panels), rows, columns, 3), np.uint8)
    for frame, panel in zip(grown, panels, strict=True):
        frame[:] = panel[-1, -1]
        frame[: panel.shape[0], : panel.shape[1]] = panel
    return grown


def _pixels(dataset: Dataset, frames: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    data = frames.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"


def _frames(dataset: Dataset, count: int) -> None:
    """PS3.3 C.8.6.3, C.8.6.4: frames are pages."""
    dataset.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    dataset.NumberOfFrames = count
    dataset.FrameIncrementPointer = Tag("PageNumberVector")
    dataset.PageNumberVector = list(range(1, count + 1))

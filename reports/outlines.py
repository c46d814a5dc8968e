"""Grayscale Softcopy Presentation State: outlines over the source images (PS3.3 A.33.1).

Written here and not by highdicom's constructor, which makes every pixel square, shows MONOCHROME1
negative, and refuses series whose rescaling or windows differ between images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import SegmentMask
from reports.case import Case
from reports.contour import contours
from reports.gray_pipeline import Rescale, alike, presentation_lut, windows
from reports.identity import identify
from reports.key_slices import segments_in
from reports.language import _
from reports.presentation import images, present, referring
from reports.settings import SHORT_DISCLAIMER

KIND = ResultKind.PRESENTATION_STATE
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class OutlinesWriter:
    """Writes the outlines of all segments, or nothing where there are none."""

    kind: ClassVar[ResultKind] = KIND

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance for all images of a series that are rescaled alike."""
        touched = sorted({f for s in case.analysis.segments for f in s.frames})
        groups = alike(case, touched).items()
        return [
            ResultInstance(KIND, _state(case, index, *group, frames))
            for index, (group, frames) in enumerate(groups)
        ]


def _state(case: Case, index: int, series: str, rescale: Rescale, frames: Sequence[int]) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    present(dataset, case, KIND, "AI_OUTLINES", header=case.header(frames[0]))
    dataset.ReferencedSeriesSequence = referring(series, map(case.reference, frames))
    colors = dict.fromkeys(segment.color for segment in case.analysis.segments)
    layers = {color: f"AI_{number}" for number, color in enumerate(colors, 1)}
    dataset.GraphicLayerSequence = [_layer(*each) for each in layers.items()]
    dataset.GraphicAnnotationSequence = [
        _annotation(case, frame, layer, _of_color(segments_in(case.analysis, frame), color))
        for frame in frames
        for color, layer in layers.items()
        if _of_color(segments_in(case.analysis, frame), color)
    ]
    rescale.write(dataset)
    dataset.SoftcopyVOILUTSequence = windows(case, frames)
    dataset.PresentationLUTShape = presentation_lut(case.header(frames[0]))
    identify(dataset, case, KIND, index)
    return dataset


def _of_color(segments: Iterable[SegmentMask], color: Color) -> list[SegmentMask]:
    return [segment for segment in segments if segment.color == color]


def _layer(color: Color, name: str) -> Dataset:
    item = Dataset()
    item.GraphicLayer, item.GraphicLayerOrder = name, int(name.removeprefix("AI_"))
    item.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*color).value)
    item.GraphicLayerDescription = SHORT_DISCLAIMER
    return item


def _annotation(case: Case, frame: int, layer: str, segments: Sequence[SegmentMask]) -> Dataset:
    """The outlines of one frame, each with its number and name, and the warning."""
    item = Dataset()
    item.ReferencedImageSequence = images([case.reference(frame)])
    item.GraphicLayer = layer
    rings = [(segment, contours(segment.mask[frame])) for segment in segments]
    item.GraphicObjectSequence = [_polyline(s, ring) for s, each in rings for ring in each]
    item.TextObjectSequence = [_warning(), *(_name(s, each[0]) for s, each in rings)]
    return item


def _polyline(segment: SegmentMask, points: NDArray[np.float64]) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = "PIXEL", 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = points.ravel().tolist()
    item.GraphicType, item.GraphicFilled = "POLYLINE", "N"
    item.TrackingID, item.TrackingUID = segment.tracking_id, segment.tracking_uid
    return item


def _name(segment: SegmentMask, points: NDArray[np.float64]) -> Dataset:
    """Beside the highest corner at the right of the outline."""
    item = Dataset()
    item.AnchorPointAnnotationUnits, item.AnchorPointVisibility = "PIXEL", "N"
    item.AnchorPoint = [float(points[:, 0].max()) + 1, float(points[:, 1].min())]
    item.UnformattedTextValue = f"{segment.number} {segment.label}"
    return item


def _warning() -> Dataset:
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner = [0.01, 0.94]
    item.BoundingBoxBottomRightHandCorner = [0.6, 0.99]
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.UnformattedTextValue = _(SHORT_DISCLAIMER)
    return item

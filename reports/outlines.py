"""Grayscale Softcopy Presentation State: outlines and boxes over the images (PS3.3 A.33.1).

Written here and not by highdicom's constructor, which makes every pixel square, shows MONOCHROME1
negative, and refuses series whose rescaling or windows differ between images.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from dicom_node.domain.prediction import Box
from reports.case import Case
from reports.contour import contours
from reports.gray_pipeline import Rescale, alike, presentation_lut, windows
from reports.identity import identify
from reports.key_slices import boxes
from reports.language import _
from reports.overlay import BOX_COLOR
from reports.presentation import images, present, referring
from reports.settings import SHORT_DISCLAIMER
from reports.shutter import copy_shutter
from reports.terms import term
from reports.wording import segment_name

KIND = ResultKind.PRESENTATION_STATE
Color = tuple[int, int, int]
Points = NDArray[np.float64]
"""(points, 2) of column and row, where 0 is the edge of the first pixel (PS3.3 C.10.5.1.2)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn of one finding in one frame, and what is written beside it."""

    color: Color
    text: str
    tracking_id: str
    tracking_uid: str
    rings: Sequence[Points]
    """Closed: the last point repeats the first."""


Shapes = Mapping[int, Sequence[Shape]]
"""By frame."""


@dataclass(frozen=True, slots=True)
class OutlinesWriter:
    """Writes the outlines of all segments and boxes, or nothing where there are none."""

    kind: ClassVar[ResultKind] = KIND

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance for all images of a series that are rescaled alike."""
        shapes = _shapes(case)
        groups = alike(case, sorted(shapes)).items()
        return [
            ResultInstance(KIND, _state(case, index, *group, {n: shapes[n] for n in frames}))
            for index, (group, frames) in enumerate(groups)
        ]


def _shapes(case: Case) -> dict[int, list[Shape]]:
    """Segments first: their numbers come before those of the boxes."""
    shapes: dict[int, list[Shape]] = {}
    for frame, shape in (*_segments(case), *_boxes(case)):
        shapes.setdefault(frame, []).append(shape)
    return shapes


def _segments(case: Case) -> Iterator[tuple[int, Shape]]:
    for segment in case.analysis.segments:
        for frame in segment.frames:
            yield frame, _outlined(case, segment, contours(segment.mask[frame]))


def _outlined(case: Case, segment: SegmentMask, rings: Sequence[Points]) -> Shape:
    text = segment_name(case.analysis, segment)
    return Shape(segment.color, text, segment.tracking_id, segment.tracking_uid, rings)


def _boxes(case: Case) -> Iterator[tuple[int, Shape]]:
    for number, finding, box in boxes(case.analysis):
        name, tracking = term(finding.code.meaning), (finding.tracking_id, finding.tracking_uid)
        text = _("{name} {number}").format(name=name, number=number)
        yield box.frame, Shape(BOX_COLOR, text, *tracking, [_corners(box)])


def _corners(box: Box) -> Points:
    """The middle of a pixel is half a pixel from its edge."""
    (top, left), (bottom, right) = np.array([box.first, box.last]) + 0.5
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top], [left, top]])


def _state(case: Case, index: int, series: str, rescale: Rescale, shapes: Shapes) -> Dataset:
    dataset = Dataset()
    frames = list(shapes)
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    present(dataset, case, KIND, "AI_OUTLINES", header=case.header(frames[0]))
    dataset.ReferencedSeriesSequence = referring(series, map(case.reference, frames))
    colors = dict.fromkeys(shape.color for each in shapes.values() for shape in each)
    layers = {color: f"AI_{number}" for number, color in enumerate(colors, 1)}
    dataset.GraphicLayerSequence = [_layer(*each) for each in layers.items()]
    dataset.GraphicAnnotationSequence = [
        _annotation(case, frame, layer, of_color)
        for frame, each in shapes.items()
        for color, layer in layers.items()
        if (of_color := [shape for shape in each if shape.color == color])
    ]
    copy_shutter(dataset, [case.header(frame) for frame in frames])
    rescale.write(dataset)
    dataset.SoftcopyVOILUTSequence = windows(case, frames)
    dataset.PresentationLUTShape = presentation_lut(case.header(frames[0]))
    identify(dataset, case, KIND, index)
    return dataset


def _layer(color: Color, name: str) -> Dataset:
    item = Dataset()
    item.GraphicLayer, item.GraphicLayerOrder = name, int(name.removeprefix("AI_"))
    item.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*color).value)
    item.GraphicLayerDescription = _(SHORT_DISCLAIMER)
    return item


def _annotation(case: Case, frame: int, layer: str, shapes: Sequence[Shape]) -> Dataset:
    """The outlines of one frame, each with its number and name, and the warning."""
    item = Dataset()
    item.ReferencedImageSequence = images([case.reference(frame)])
    item.GraphicLayer = layer
    item.GraphicObjectSequence = [_polyline(shape, r) for shape in shapes for r in shape.rings]
    item.TextObjectSequence = [_warning(), *map(_name, shapes)]
    return item


def _polyline(shape: Shape, points: Points) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = "PIXEL", 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = points.ravel().tolist()
    item.GraphicType, item.GraphicFilled = "POLYLINE", "N"
    item.TrackingID, item.TrackingUID = shape.tracking_id, shape.tracking_uid
    return item


def _name(shape: Shape) -> Dataset:
    """Beside the highest corner at the right of the outline."""
    points = shape.rings[0]
    item = Dataset()
    item.AnchorPointAnnotationUnits, item.AnchorPointVisibility = "PIXEL", "N"
    item.AnchorPoint = [float(points[:, 0].max()) + 1, float(points[:, 1].min())]
    item.UnformattedTextValue = shape.text
    return item


def _warning() -> Dataset:
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner = [0.01, 0.94]
    item.BoundingBoxBottomRightHandCorner = [0.6, 0.99]
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.UnformattedTextValue = _(SHORT_DISCLAIMER)
    return item

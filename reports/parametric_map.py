"""Parametric Map: the heat map as data, in the source's geometry (PS3.3 A.75).

Only where the images lie in the patient: the class demands a frame of reference, which projection
images and ultrasound lack. Their map is shown by Secondary Capture, and by no data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ParametricMapStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.explanation import SaliencyMap
from reports.case import Case
from reports.identity import LONG_STRING, code_item, identify, series_description
from reports.language import _
from reports.multiframe import Derived, describe, require_frame_of_reference
from reports.overlay import CLEAR_BELOW
from reports.planes import decimal
from reports.settings import SHORT_DISCLAIMER
from reports.terms import term
from reports.wording import written

QUANTITY = Code("246205007", "SCT", "Quantity")
NO_UNITS = Code("1", "UCUM", "no units")
STEPS = 2**16 - 1
"""The highest stored value of the integer form."""
FLAVOR = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


@dataclass(frozen=True, slots=True)
class ParametricMapWriter:
    """Writes the maps of images that lie in the patient; a map that failed its checks is none."""

    kind: ClassVar[ResultKind] = ResultKind.PARAMETRIC_MAP

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance a map, in the order of ``maps``.

        Raises ``UnsupportedGeometry`` where a stack of images names no frame of reference.
        """
        if case.analysis.images.affine is None:
            return []
        require_frame_of_reference(case)
        return [
            ResultInstance(ResultKind.PARAMETRIC_MAP, _map(case, index, saliency))
            for index, saliency in enumerate(maps(case))
        ]


def maps(case: Case) -> list[SaliencyMap]:
    """The maps that may be shown; findings may share one."""
    explanations = (f.explanation for f in case.analysis.answers)
    shown = (e.saliency for e in explanations if e is not None and not e.withheld)
    return list({id(saliency): saliency for saliency in shown}.values())


def map_frames(case: Case, saliency: SaliencyMap) -> range:
    """The slices that are written: from the first to the last that shows any heat.

    Without a gap, for viewers take the spacing of the first two frames for that of all; a key
    slice is among them even if it is cold.
    """
    warm = saliency.peaks >= CLEAR_BELOW * saliency.full_scale
    warm[_key_frames(case, saliency)] = True
    first, last = np.flatnonzero(warm)[[0, -1]]
    return range(int(first), int(last) + 1)


def _key_frames(case: Case, saliency: SaliencyMap) -> list[int]:
    explained = ((f.frame, f.explanation) for f in case.analysis.answers)
    return [frame for frame, e in explained if e is not None and e.saliency is saliency]


def _map(case: Case, index: int, saliency: SaliencyMap) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = ParametricMapStorage
    dataset.ImageType = FLAVOR
    dataset.ContentLabel = "AI_HEAT_MAP"
    dataset.ContentDescription = series_description(case.maker, ResultKind.PARAMETRIC_MAP)
    dataset.ContentCreatorName = None
    dataset.ImageComments = _("{method} for {target}. {warning}").format(
        method=term(saliency.method.meaning),
        target=term(saliency.target),
        warning=_(SHORT_DISCLAIMER),
    )
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.AcquisitionContextSequence = []
    frames = map_frames(case, saliency)
    values = saliency.values[frames.start : frames.stop]
    derived = [Derived(frame) for frame in frames]
    shared = describe(dataset, case, derived, derivation=saliency.method)
    _FORMS[case.settings.parametric_map](dataset, shared, values, saliency)
    shared.ParametricMapFrameTypeSequence = [_frame_type()]
    identify(dataset, case, ResultKind.PARAMETRIC_MAP, index)
    return dataset


def _floating(dataset: Dataset, shared: Dataset, values: FloatArray, saliency: SaliencyMap) -> None:
    """Logit units as they are (PS3.3 C.7.6.24), shown and not copied: they fill the memory."""
    dataset.BitsAllocated = 32
    shown = np.ascontiguousarray(values, "<f4").data.cast("B")
    dataset.add(DataElement("FloatPixelData", "OF", shown, validation_mode=IGNORE))
    _meaning(shared, saliency, step=1.0)
    (mapping,) = shared.RealWorldValueMappingSequence
    mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
    mapping.DoubleFloatRealWorldValueLastValueMapped = float(saliency.peaks.max())


def _integer(dataset: Dataset, shared: Dataset, values: FloatArray, saliency: SaliencyMap) -> None:
    """16 bits from 0 to full scale, or to the peak where it is higher."""
    step = max(saliency.full_scale, float(saliency.peaks.max())) / STEPS
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.rint(values / step).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    _meaning(shared, saliency, step)
    (mapping,) = shared.RealWorldValueMappingSequence
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, STEPS


_FORMS: Mapping[str, Callable[[Dataset, Dataset, FloatArray, SaliencyMap], None]] = {
    "FLOAT": _floating,
    "INTEGER": _integer,
}


def _meaning(shared: Dataset, saliency: SaliencyMap, step: float) -> None:
    """What a stored value means, and how it is shown unasked: 0 black, full scale white."""
    shared.PixelValueTransformationSequence = [_identity()]
    shared.FrameVOILUTSequence = [_window(saliency.full_scale / step)]
    shared.RealWorldValueMappingSequence = [_mapping(saliency, step)]


def _identity() -> Dataset:
    item = Dataset()
    item.RescaleIntercept, item.RescaleSlope, item.RescaleType = "0", "1", "US"
    return item


def _window(full: float) -> Dataset:
    item = Dataset()
    item.WindowCenter, item.WindowWidth = decimal(full / 2), decimal(full)
    item.WindowCenterWidthExplanation = _("0 to full scale")
    item.VOILUTFunction = "LINEAR_EXACT"
    return item


def _mapping(saliency: SaliencyMap, step: float) -> Dataset:
    item = Dataset()
    unit = saliency.unit or NO_UNITS
    scale = written(saliency.unit) if saliency.unit else _("logit units")
    said = _("Evidence for {target}, in {units}").format(target=term(saliency.target), units=scale)
    item.LUTExplanation = said[:LONG_STRING]
    item.LUTLabel = "EVIDENCE" if saliency.unit else "LOGIT"
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, step
    item.MeasurementUnitsCodeSequence = [code_item(unit)]
    item.QuantityDefinitionSequence = [_quantity(saliency.method)]
    return item


def _quantity(method: Code) -> Dataset:
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [code_item(QUANTITY)]
    item.ConceptCodeSequence = [code_item(method)]
    return item


def _frame_type() -> Dataset:
    item = Dataset()
    item.FrameType = FLAVOR
    return item

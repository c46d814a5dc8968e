"""From stored values to grey levels, for presentation states, which must repeat it (PS3.3 C.11)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from reports.case import Case
from reports.identity import copy_element
from reports.planes import decimal, functional_group
from reports.presentation import images
from reports.window import BRIGHT, DARK, first_window

WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")


@dataclass(frozen=True, slots=True)
class Rescale:
    """A Modality LUT: a line or a table; none: stored values are what they mean."""

    slope: str = ""
    intercept: str = ""
    type: str = ""
    content: str = ""
    """Of the table, in JSON: images with equal tables are rescaled alike."""
    table: Dataset | None = field(default=None, compare=False)

    def write(self, dataset: Dataset) -> None:
        """Modality LUT module (PS3.3 C.11.1)."""
        if self.table is not None:
            dataset.ModalityLUTSequence = [self.table]
        elif self.slope:
            dataset.RescaleIntercept, dataset.RescaleSlope = self.intercept, self.slope
            dataset.RescaleType = self.type


Alike = tuple[str, Rescale]
"""Series and Modality LUT: a presentation state is of one series, and has one LUT for all."""


def alike(case: Case, frames: Sequence[int]) -> dict[Alike, list[int]]:
    """Frames that are rescaled alike: a presentation state holds one Modality LUT for all."""
    groups: dict[Alike, list[int]] = {}
    for frame in frames:
        groups.setdefault((case.series_uid(frame), _rescale(case, frame)), []).append(frame)
    return groups


def _rescale(case: Case, frame: int) -> Rescale:
    source = _group(case, frame, "PixelValueTransformationSequence")
    if source.get("ModalityLUTSequence"):
        table = source.ModalityLUTSequence[0]
        return Rescale(content=table.to_json(), table=table)
    if "RescaleSlope" not in source:
        return Rescale()
    kind = source.get("RescaleType") or ("HU" if case.header(frame).Modality == "CT" else "US")
    return Rescale(str(source.RescaleSlope), str(source.RescaleIntercept), str(kind))


def windows(case: Case, frames: Sequence[int]) -> list[Dataset]:
    """Softcopy VOI LUT items: one for all images with the same window (PS3.3 C.11.8)."""
    items: dict[str, tuple[Dataset, list[int]]] = {}
    for frame in frames:
        item = window(case, frame)
        items.setdefault(item.to_json(), (item, []))[1].append(frame)
    for item, shown in items.values():
        item.ReferencedImageSequence = images(map(case.reference, shown))
    return [item for item, _ in items.values()]


def window(case: Case, frame: int) -> Dataset:
    """The window of the source, or the one that the pictures have where it names none."""
    source = _group(case, frame, "FrameVOILUTSequence")
    item = Dataset()
    if first_window(source) is not None:
        for keyword in WINDOW:
            if source.get(keyword) not in (None, ""):
                copy_element(item, source, keyword)
    elif source.get("VOILUTSequence"):
        item.VOILUTSequence = source.VOILUTSequence
    else:
        dark, bright = np.percentile(case.analysis.images.pixels[frame], [DARK, BRIGHT])
        item.WindowCenter = decimal((dark + bright) / 2)
        item.WindowWidth = decimal(max(float(bright - dark), 1e-6))
        item.VOILUTFunction = "LINEAR_EXACT"  # LINEAR knows no width of 1 and less
    return item


def presentation_lut(header: Dataset) -> str:
    """Softcopy Presentation LUT (PS3.3 C.11.6): MONOCHROME1 shows low values bright."""
    return "INVERSE" if header.get("PhotometricInterpretation") == "MONOCHROME1" else "IDENTITY"


def _group(case: Case, frame: int, keyword: str) -> Any:
    return functional_group(case.header(frame), case.reference(frame).frame_number, keyword)

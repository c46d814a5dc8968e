"""Pseudo-Color Softcopy Presentation State: the colours of the heat map (PS3.3 A.33.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

from pydicom.dataset import Dataset
from pydicom.uid import PseudoColorSoftcopyPresentationStateStorage

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.images import FrameReference
from reports.case import Case
from reports.colormap import INFERNO
from reports.identity import identify, series_uid
from reports.presentation import present, referring

KIND = ResultKind.COLOR_PRESENTATION_STATE
EIGHT_TO_SIXTEEN = 257


@dataclass(frozen=True, slots=True)
class HeatColorsWriter:
    """Writes the colours of each Parametric Map that was written."""

    kind: ClassVar[ResultKind] = KIND

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance a map, in their order."""
        maps = [r.dataset for r in earlier if r.kind is ResultKind.PARAMETRIC_MAP]
        return [ResultInstance(KIND, _state(case, n, each)) for n, each in enumerate(maps)]


def _state(case: Case, index: int, source: Dataset) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = PseudoColorSoftcopyPresentationStateStorage
    present(dataset, case, KIND, "AI_HEAT_COLORS", header=case.sources.first)
    image = FrameReference(str(source.SOPClassUID), str(source.SOPInstanceUID))
    series = series_uid(case, ResultKind.PARAMETRIC_MAP)
    dataset.ReferencedSeriesSequence = referring(series, [image])
    shared = source.SharedFunctionalGroupsSequence[0]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    window = Dataset()
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        setattr(window, keyword, shared.FrameVOILUTSequence[0][keyword].value)
    dataset.SoftcopyVOILUTSequence = [window]
    _palette(dataset)
    identify(dataset, case, KIND, index)
    return dataset


def _palette(dataset: Dataset) -> None:
    """Palette Color LUT and ICC Profile modules (PS3.3 C.7.9, C.11.15): Inferno, in sRGB."""
    for name, values in zip(("Red", "Green", "Blue"), INFERNO.T, strict=True):
        prefix = f"{name}PaletteColorLookupTable"
        setattr(dataset, f"{prefix}Descriptor", [len(values), 0, 16])
        table = (values.astype("<u2") * EIGHT_TO_SIXTEEN).astype("<u2").tobytes()
        setattr(dataset, f"{prefix}Data", table)
    dataset.ICCProfile = _srgb()


@cache
def _srgb() -> bytes:
    """The profile that highdicom ships, for one made anew would hold the time of its making."""
    profile = files("highdicom").joinpath("_icc_profiles/sRGB_v4_ICC_preference.icc").read_bytes()
    return profile + b"\0" * (len(profile) % 2)

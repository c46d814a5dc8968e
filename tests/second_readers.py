"""SEG and SR as other libraries read them, and as our own analysis says they must be."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from npm import installed
from pydicom import dcmread
from pydicom.dataset import Dataset
from servant import Servant

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.findings import SegmentMask

NODE = Path(__file__).parent / "node"
Masks = dict[tuple[int, str, int | None], str]
"""SHA-256 of a mask, by segment number, SOP Instance UID and frame number of its source."""


def dcmjs(paths: Sequence[Path], tool: Callable[[str], str]) -> list[Any]:
    """What dcmjs reads in SEG and SR."""
    installed(NODE, "dcmjs", tool)
    servant = _dcmjs(tool("node"))
    return [json.loads("".join(servant.ask(str(path)))) for path in paths]


@cache
def _dcmjs(node: str) -> Servant:
    return Servant((node, str(NODE / "read.cjs")))


def masks_of_dcmjs(frames: Sequence[Any]) -> Masks:
    """The masks of one SEG."""
    return {(f["segment"], f["source"], f["frame"]): f["sha256"] for f in frames}


def masks_of_highdicom(path: Path) -> Masks:
    """The masks of one SEG, frame by frame; where it is fractional, as they are stored."""
    segmentation = hd.seg.segread(path)
    found: Masks = {}
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, 1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        place = (str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber"))
        plane = np.squeeze(segmentation.get_stored_frame(number))
        if identified := group.get("SegmentIdentificationSequence"):
            found[int(identified[0].ReferencedSegmentNumber), *place] = _sha256(plane)
            continue
        for label in np.unique(plane[plane > 0]).tolist():
            found[label, *place] = _sha256(plane == label)
    return found


def masks_of(given: Analysis, path: Path) -> Masks:
    """What a SEG of this analysis must hold."""
    fractional = dcmread(path, stop_before_pixels=True).SegmentationType == "FRACTIONAL"
    return {
        (segment.number, frame.sop_instance_uid, frame.frame_number): _sha256(
            _chances(given, segment, number) if fractional else plane
        )
        for segment in given.segments
        for number, (frame, plane) in enumerate(zip(given.images.frames, segment.mask, strict=True))
        if plane.any()
    }


def _chances(given: Analysis, segment: SegmentMask, frame: int) -> np.ndarray:
    likely = given.prediction.masks[frame, :, :, segment.channel]
    return np.rint(255 * likely) * segment.mask[frame]


def _sha256(plane: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(plane, np.uint8).tobytes()).hexdigest()


def tree(path: Path) -> dict[str, Any]:
    """An SR as dcmjs would print it, read by pydicom."""
    return _item(dcmread(path))


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether both read the same items; coordinates are single precision."""
    if ours["name"] != theirs["name"] or len(ours["items"]) != len(theirs["items"]):
        return False
    pairs = zip(ours["items"], theirs["items"], strict=True)
    return _equal(ours["value"], theirs["value"]) and all(same(*pair) for pair in pairs)


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list) and all(isinstance(value, float) for value in ours):
        return bool(np.allclose(ours, theirs, rtol=1e-6))
    return bool(ours == theirs)


def _item(item: Dataset) -> dict[str, Any]:
    name = item.get("ConceptNameCodeSequence")
    return {
        "name": name[0].CodeValue if name else None,
        "value": _value(item),
        "items": [_item(child) for child in item.get("ContentSequence", ())],
    }


def _value(item: Dataset) -> Any:
    kind = item.ValueType
    if kind == "NUM":
        (measured,) = item.MeasuredValueSequence
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        return [float(measured.NumericValue), unit]
    if kind in {"SCOORD", "SCOORD3D"}:
        return [float(value) for value in np.atleast_1d(item.GraphicData)]
    values: dict[str, Callable[[], Any]] = {
        "CODE": lambda: item.ConceptCodeSequence[0].CodeValue,
        "TEXT": lambda: item.TextValue,
        "UIDREF": lambda: item.UID,
        "IMAGE": lambda: _reference(item.ReferencedSOPSequence[0]),
    }
    return values[kind]() if kind in values else None


def _reference(item: Dataset) -> list[Any]:
    numbers = (item.get(f"Referenced{what}Number") for what in ("Frame", "Segment"))
    return [
        item.ReferencedSOPInstanceUID,
        *([int(each) for each in np.atleast_1d(n)] if n is not None else [] for n in numbers),
    ]

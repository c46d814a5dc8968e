"""SEG and SR as other libraries read them, and as our own analysis says they must be."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from npm import installed
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis

NODE = Path(__file__).parent / "node"
Masks = dict[tuple[int | None, str, int | None], str]
"""SHA-256 of a frame's mask, by segment number, SOP Instance UID and frame number of its source."""


def dcmjs(paths: Sequence[Path], tool: Callable[[str], str]) -> list[Any]:
    """What dcmjs reads in SEG and SR."""
    installed(NODE, "dcmjs", tool)
    command = [tool("node"), str(NODE / "read.cjs"), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return list(json.loads(done.stdout))


def masks_of_dcmjs(frames: Sequence[Any]) -> Masks:
    """The masks of one SEG."""
    return {(f["segment"], f["source"], f["frame"]): f["sha256"] for f in frames}


def masks_of_highdicom(path: Path) -> Masks:
    """The masks of one SEG, frame by frame; of a label map, all segments together."""
    segmentation = hd.seg.segread(path)
    found: Masks = {}
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, 1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        segments = [
            int(item.ReferencedSegmentNumber)
            for item in group.get("SegmentIdentificationSequence", ())
        ]
        plane = np.squeeze(segmentation.get_stored_frame(number)) > 0
        key = (
            segments[0] if segments else None,
            str(source.ReferencedSOPInstanceUID),
            source.get("ReferencedFrameNumber"),
        )
        found[key] = _sha256(plane)
    return found


def masks_of(given: Analysis, path: Path) -> Masks:
    """What a SEG of this analysis must hold."""
    if dcmread(path, stop_before_pixels=True).SegmentationType == "LABELMAP":
        together = np.any([segment.mask for segment in given.segments], axis=0)
        return {
            (None, frame.sop_instance_uid, frame.frame_number): _sha256(plane)
            for frame, plane in zip(given.images.frames, together, strict=True)
            if plane.any()
        }
    return {
        (segment.number, frame.sop_instance_uid, frame.frame_number): _sha256(plane)
        for segment in given.segments
        for frame, plane in zip(given.images.frames, segment.mask, strict=True)
        if plane.any()
    }


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
    values: dict[str, Callable[[], str]] = {
        "CODE": lambda: item.ConceptCodeSequence[0].CodeValue,
        "TEXT": lambda: item.TextValue,
        "UIDREF": lambda: item.UID,
        "IMAGE": lambda: item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
    }
    return values[kind]() if kind in values else None


def measurements(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Tracking UID and numbers of each finding, as highdicom reads an SR."""
    content = hd.sr.srread(path).content
    groups = (
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    )
    for group in groups:
        numbers = {m.name.value: float(m.value) for m in group.get_measurements()}
        yield str(group.tracking_uid), numbers

"""What an SR says of each answer, as other libraries read it and as our own analysis has it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.findings import Answer, Finding, Presence
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Quantity, Segment, Target
from dicom_node.domain.part import CodedConcept

GROUP, TRACKING_ID, TRACKING_UID = "125007", "112039", "112040"
FINDING, CATEGORY, SITE, SIDE = "121071", "276214006", "363698007", "272741003"
PRESENCE, SEGMENT, SEGMENTED_FRAME = "121052", "121191", "121214"
SHOWN = ("referenced_segment", "referenced_segmentation_frame")
PROBABILITY = "122157"
PRESENCES = {
    Presence.PRESENT: "52101004",
    Presence.ABSENT: "272519000",
    Presence.UNDETERMINED: "373068000",
}
SIDES = {"L": "7771000", "R": "24028007", "B": "51440002"}


@dataclass(frozen=True)
class Said:
    """What an SR says of one answer, in codes."""

    tracking: tuple[str, str]
    """Identifier and UID."""
    finding: str
    category: str
    site: tuple[str, str | None] | None
    """With its side."""
    presence: str | None
    segment: int | None
    numbers: Mapping[str, tuple[float, str]]
    """Values and units."""


def of_analysis(given: Analysis) -> list[Said]:
    """What an SR of this analysis must say, in the order of tracking UIDs."""
    return _sorted(_said(given, answer) for answer in given.answers)


def _said(given: Analysis, answer: Answer) -> Said:
    sure = isinstance(answer, Finding)
    numbers = {m.name.value: (m.value, m.unit.value) for m in answer.measurements}
    if sure:
        numbers[PROBABILITY] = (round(100 * answer.probability, 1), "%")
        shares = (share.feature for share in answer.shares)
        numbers |= {m.name.value: (m.value, m.unit.value) for m in shares}
    asked = answer.target if sure else answer.quantity or answer.outlined
    site = asked.site if asked else None
    return Said(
        tracking=(answer.tracking_id, answer.tracking_uid),
        finding=answer.code.value,
        category=answer.category.value,
        site=(site.value, _side(given, answer)) if site else None,
        presence=_presence(answer),
        segment=answer.segment.number if answer.segment else None,
        numbers=_rounded(numbers),
    )


def _presence(answer: Answer) -> str | None:
    if isinstance(answer, Finding):
        return PRESENCES[answer.presence]
    said = Presence.ABSENT if answer.missing else Presence.PRESENT
    return PRESENCES[said] if answer.outlined else None


def _side(given: Analysis, answer: Answer) -> str | None:
    uid = given.images.frames[answer.frame].sop_instance_uid
    header = next(d for d in given.images.datasets if d.SOPInstanceUID == uid)
    return SIDES.get(header.get("ImageLaterality") or header.get("Laterality") or "")


def of_no_result(given: Analysis) -> list[Said]:
    """What an SR in place of a result must say: all that is asked, of which nothing is known."""
    name, uid_of = given.manifest.name, given.provenance.tracking_uid
    return _sorted(
        Said(
            tracking=(asked.label, uid_of(name, asked.label)),
            finding=(asked.type if isinstance(asked, Segment) else asked.finding).value,
            category=asked.category.value,
            site=(asked.site.value, _value_of(asked.laterality)) if asked.site else None,
            presence=PRESENCES[Presence.UNDETERMINED],
            segment=None,
            numbers={},
        )
        for asked in _asked(given.manifest)
    )


def _asked(model: ModelManifest) -> list[Target | Segment | Quantity]:
    """Of a target and the segment that locates it the target alone."""
    segments = model.segmentation.segments if model.segmentation else ()
    located = [target.located_by for target in model.targets]
    alone = [segment for segment in segments if segment.label not in located]
    return [*model.targets, *alone, *(model.regression.quantities if model.regression else ())]


def by_dcmjs(report: Mapping[str, Any], segmentation: Path | None) -> list[Said]:
    """What dcmjs reads."""
    groups = (item for item in _all(report) if item["name"] == GROUP)
    return _sorted(_said_by_items(group["items"], segmentation) for group in groups)


def _all(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for child in item["items"]:
        yield child
        yield from _all(child)


def _said_by_items(items: Sequence[Mapping[str, Any]], segmentation: Path | None) -> Said:
    first = {item["name"]: item for item in reversed(items)}
    value = {name: item["value"] for name, item in first.items()}
    numbers = {i["name"]: i["value"] for i in items if _is_number(i["value"])}
    side = (
        {i["name"]: i["value"] for i in first[SITE]["items"]}.get(SIDE) if SITE in first else None
    )
    shown = value.get(SEGMENT) or value.get(SEGMENTED_FRAME)
    return Said(
        tracking=(value[TRACKING_ID], value[TRACKING_UID]),
        finding=value[FINDING],
        category=value[CATEGORY],
        site=(value[SITE], side) if SITE in first else None,
        presence=value.get(PRESENCE),
        segment=_segment(segmentation, value[TRACKING_UID], *(shown or ())),
        numbers=_rounded(numbers),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)


def _segment(
    segmentation: Path | None,
    tracking_uid: str,
    uid: str = "",
    frames: Sequence[int] = (),
    named: Sequence[int] = (),
) -> int | None:
    """As it is named, else what the frame shows: of a label map that of the same tracking UID."""
    if not uid:
        return None
    dataset = dcmread(segmentation)
    assert dataset.SOPInstanceUID == uid
    shown = named or [number for frame in frames for number in _segments_in(dataset, frame)]
    tracked = {int(s.SegmentNumber): s.get("TrackingUID") for s in dataset.SegmentSequence}
    (number,) = (number for number in shown if tracked[number] == tracking_uid)
    return int(number)


def _segments_in(dataset: Dataset, frame: int) -> Iterable[int]:
    group = dataset.PerFrameFunctionalGroupsSequence[frame - 1]
    if identified := group.get("SegmentIdentificationSequence"):
        return [int(identified[0].ReferencedSegmentNumber)]
    pixels = np.atleast_3d(dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns))
    return sorted(set(pixels[frame - 1].ravel().tolist()) - {0})


def by_highdicom(path: Path, segmentation: Path | None) -> list[Said]:
    """What highdicom reads."""
    content = hd.sr.srread(path).content
    groups = (
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    )
    return _sorted(_said_by_group(group, segmentation) for group in groups)


def _said_by_group(group: Any, segmentation: Path | None) -> Said:
    presence = {q.name.value: q.value.value for q in group.get_qualitative_evaluations()}
    numbers = {m.name.value: (float(m.value), m.unit.value) for m in group.get_measurements()}
    sites = [(site.value.value, _value_of(site.laterality)) for site in group.finding_sites]
    shown = next((getattr(group, name) for name in SHOWN if getattr(group, name, None)), None)
    place = (
        (shown.referenced_sop_instance_uid, shown.referenced_frame_numbers or (),
         shown.referenced_segment_numbers or ())
        if shown else ()
    )  # fmt: skip
    return Said(
        tracking=(str(group.tracking_identifier), str(group.tracking_uid)),
        finding=group.finding_type.value,
        category=group.finding_category.value,
        site=sites[0] if sites else None,
        presence=presence.get(PRESENCE),
        segment=_segment(segmentation, str(group.tracking_uid), *place),
        numbers=_rounded(numbers),
    )


def _value_of(code: Code | CodedConcept | None) -> str | None:
    return None if code is None else str(code.value)


def _rounded(numbers: Mapping[str, Sequence[Any]]) -> dict[str, tuple[float, str]]:
    """As far as a decimal string of 16 bytes holds them."""
    return {name: (float(f"{value:.9g}"), unit) for name, (value, unit) in numbers.items()}


def _sorted(said: Iterable[Said]) -> list[Said]:
    return sorted(said, key=lambda each: each.tracking[1])

"""What results say in words; one place, so that SR, page and pictures agree."""

from dicom_node.domain.analysis import (
    Analysis,
    Explanation,
    ExplanationQuality,
    Finding,
    Presence,
    Region,
    SegmentMask,
    Trust,
)
from dicom_node.domain.wording import percent
from reports.compass import coordinate

TRUST = {
    Trust.RELIABLE: "The map can be taken as the place that the model looked at.",
    Trust.CAUTION: "Some checks were not passed: the map may mislead.",
    Trust.NOT_RELIABLE: "Its checks failed: do not use the map.",
    Trust.NOT_MEASURED: "Nobody measured whether the map can be believed.",
}
TRUST_LABEL = {
    Trust.RELIABLE: "checks passed",
    Trust.CAUTION: "caution",
    Trust.NOT_RELIABLE: "not reliable",
    Trust.NOT_MEASURED: "not measured",
}
PRESENCE_LABEL = {
    Presence.PRESENT: "Present",
    Presence.ABSENT: "Absent",
    Presence.UNDETERMINED: "Undetermined",
}
NOT_A_SEGMENTATION = (
    "The map shows what raised the model's score; it is not a segmentation and not a diagnosis."
)


def summary(analysis: Analysis) -> str:
    """One sentence: every target with its answer, what is present first."""
    answers: dict[tuple[str, Presence], list[Finding]] = {}
    for finding in sorted(analysis.findings, key=lambda f: _URGENCY.index(f.presence)):
        key = (finding.target.finding.meaning, finding.presence)
        answers.setdefault(key, []).append(finding)
    parts = (_answer(name, presence, found) for (name, presence), found in answers.items())
    return "; ".join(parts) + "."


_URGENCY = (Presence.PRESENT, Presence.UNDETERMINED, Presence.ABSENT)


def _answer(name: str, presence: Presence, found: list[Finding]) -> str:
    count = f" ({len(found)} found)" if len(found) > 1 else ""
    highest = "highest " if len(found) > 1 or presence is Presence.ABSENT else ""
    chance = max(finding.probability for finding in found)
    return f"{name} {presence.lower()}{count}, {highest}probability {percent(chance)}"


def place_text(finding: Finding) -> str:
    """Where the map points, in a sentence."""
    explanation = finding.explanation
    if explanation is None:
        return "No explanation was made for this finding."
    region = explanation.region
    if region is None:
        return "No localised evidence: the map names no place."
    relation = _relation(region, finding.segment)
    return f"The map names a place at {region_place(region)}{relation}."


def region_place(region: Region) -> str:
    """The centre of the region: patient coordinates, or row and column without geometry."""
    if region.centroid_mm is not None:
        return ", ".join(coordinate(value, axis) for axis, value in enumerate(region.centroid_mm))
    _, row, column = region.centroid
    return f"row {row:.0f}, column {column:.0f}"


def _relation(region: Region, segment: SegmentMask | None) -> str:
    """Whether map and segment speak of the same place: the reader's first check."""
    if segment is None:
        return ""
    frame, row, column = (round(value) for value in region.centroid)
    inside = bool(segment.mask[frame, row, column])
    return f", {'inside' if inside else 'outside of'} segment {segment.number}"


def quality_text(quality: ExplanationQuality) -> str:
    """How far the map can be believed, with the reasons."""
    label = f"Trust in this map: {TRUST_LABEL[quality.trust]}."
    return " ".join((label, TRUST[quality.trust], *quality.reasons))


def method_text(explanation: Explanation) -> str:
    """How the map was made."""
    saliency = explanation.saliency
    return (
        f"{saliency.method.meaning}, layer {saliency.layer}, in logit units on a fixed scale "
        f"from 0 to {saliency.full_scale:g}; highest value {float(saliency.values.max()):.3g}."
    )


def explanation_text(analysis: Analysis, finding: Finding) -> str:
    """The whole explanation of a finding as one text, for the SR."""
    if finding.explanation is None:
        return place_text(finding)
    measures = "; ".join(
        f"{m.name}: {m.value:.3g} {m.unit.meaning}" for m in finding.explanation.quality.measures
    )
    parts = (
        f"Explanation by {analysis.manifest.id}.",
        place_text(finding),
        quality_text(finding.explanation.quality),
        method_text(finding.explanation),
        f"{measures}." if measures else "",
        NOT_A_SEGMENTATION,
    )
    return " ".join(part for part in parts if part)

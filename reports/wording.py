"""What results say in words; one place, so that SR, page and pictures agree."""

from collections.abc import Sequence
from functools import reduce

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.concepts import DERIVED_IMAGE
from dicom_node.domain.explanation import Explanation, ExplanationQuality, Region, Trust
from dicom_node.domain.findings import (
    Answer,
    Estimate,
    Finding,
    Measurement,
    Presence,
    SegmentMask,
    Share,
)
from reports.compass import coordinate
from reports.key_slices import code_of
from reports.language import N_, _, fixed, number, percent
from reports.side import side_word
from reports.terms import term

TRUST = {
    Trust.RELIABLE: N_("The map can be taken as the place that the model looked at."),
    Trust.CAUTION: N_("Some checks were not passed: the map may mislead."),
    Trust.NOT_RELIABLE: N_("It says nothing about where the finding is, or why."),
    Trust.NOT_MEASURED: N_("Nobody measured whether this map can be believed."),
}
TRUST_LABEL = {
    Trust.RELIABLE: N_("checks passed"),
    Trust.CAUTION: N_("caution"),
    Trust.NOT_RELIABLE: N_("not reliable"),
    Trust.NOT_MEASURED: N_("not measured"),
}
PRESENCE_LABEL = {
    Presence.PRESENT: N_("Present"),
    Presence.ABSENT: N_("Absent"),
    Presence.UNDETERMINED: N_("Undetermined"),
}
PRESENCE_WORD = {
    Presence.PRESENT: N_("present"),
    Presence.ABSENT: N_("absent"),
    Presence.UNDETERMINED: N_("undetermined"),
}
"""Within a sentence."""
NOT_A_SEGMENTATION = N_(
    "The map shows what raised the model's score; it is not a segmentation and not a diagnosis."
)
NO_EVIDENCE = N_("No localised evidence: the map names no place.")
NOT_OUTLINED = N_("Nothing of it was outlined: there is nothing to explain.")
MAY_DECEIVE = N_(
    "The derived image is made by the model: it may hide what is there, or show what is not."
)
WITHHELD = N_("The heat map is withheld: it failed its checks.")
UNFAMILIAR = N_(
    "These images are outside of what this model was trained on: do not rely on what it says of "
    "them."
)


def summary(analysis: Analysis) -> str:
    """One sentence: every target with its answer, what is present first."""
    return _sentence(*_shown(analysis), *_not_shown(analysis))


def parted(analysis: Analysis) -> tuple[str, str]:
    """The summary in two: what a reader must know first, and what is absent beside it, if any."""
    first, rest = _shown(analysis), _not_shown(analysis)
    return (_sentence(*first), _sentence(*rest)) if first else (_sentence(*rest), "")


def _shown(analysis: Analysis) -> list[str]:
    found = [f for f in analysis.findings if f.presence is not Presence.ABSENT]
    return [*_findings(analysis, found), *_estimates(analysis, missing=False)]


def _not_shown(analysis: Analysis) -> list[str]:
    absent = [f for f in analysis.findings if f.presence is Presence.ABSENT]
    return [*_findings(analysis, absent), *_estimates(analysis, missing=True)]


def _sentence(*said: str) -> str:
    return _("{}.").format(_("; ").join(said)) if said else ""


def _findings(analysis: Analysis, findings: Sequence[Finding]) -> list[str]:
    answers: dict[tuple[str, Presence], list[Finding]] = {}
    for finding in sorted(findings, key=lambda f: _URGENCY.index(f.presence)):
        answers.setdefault((named(analysis, finding), finding.presence), []).append(finding)
    return [answer(name, found) for (name, _presence), found in answers.items()]


def _estimates(analysis: Analysis, *, missing: bool) -> list[str]:
    return [measured(analysis, each) for each in analysis.estimates if each.missing == missing]


def named(analysis: Analysis, said: Answer) -> str:
    """What an answer is about, with its side where there is one: ``Mass (left)``."""
    name, side = term(said.code.meaning), side_word(analysis.images, said)
    return _("{name} ({side})").format(name=name, side=side) if side else name


def warning(analysis: Analysis) -> str:
    """What a reader must know before the answer; empty where there is nothing of the kind."""
    return _(UNFAMILIAR) if analysis.unfamiliar else ""


_URGENCY = (Presence.PRESENT, Presence.UNDETERMINED, Presence.ABSENT)


def answer(name: str, found: Sequence[Finding]) -> str:
    """Findings of one target with the same answer: ``Mass (left) present, probability 97%``."""
    first = found[0]
    highest = len(found) > 1 or first.presence is Presence.ABSENT
    text = (
        _("{name} {presence}{count}, highest probability {chance}")
        if highest
        else _("{name} {presence}, probability {chance}")
    )
    return text.format(
        name=name,
        presence=_(PRESENCE_WORD[first.presence]),
        count=_(" ({} found)").format(len(found)) if len(found) > 1 else "",
        chance=percent(max(f.probability for f in found), first.target.threshold),
    )


def headline(analysis: Analysis, said: Answer) -> str:
    """One answer, in the words of the summary."""
    if isinstance(said, Finding):
        return answer(named(analysis, said), [said])
    return measured(analysis, said)


def title(analysis: Analysis, said: Answer) -> str:
    """What an answer is about, and what it says where it is yes or no."""
    name = named(analysis, said)
    if isinstance(said, Finding):
        presence = _(PRESENCE_WORD[said.presence])
        return _("{name}: {presence}").format(name=name, presence=presence)
    return measured(analysis, said) if said.missing else name


def measured(analysis: Analysis, estimate: Estimate) -> str:
    """What was measured and the first number: ``Phantom: Diameter 213 mm``."""
    name = named(analysis, estimate)
    if estimate.missing:
        return _("{name}: {presence}").format(name=name, presence=_("not found"))
    first = measurement_text(estimate.measurements[0])
    return _("{name}: {measurement}").format(name=name, measurement=first)


def measurement_text(measurement: Measurement) -> str:
    """Name, number and unit."""
    name = OF_THE_UNIT.get(measurement.name, measurement.name).meaning
    return f"{term(name)} {number(measurement.value)} {written(measurement.unit)}".strip()


def written(unit: Code) -> str:
    """A unit as people write it."""
    return UNITS.get(unit.value, unit.value)


OF_THE_UNIT = {
    codes.DCM.MeanAttenuationCoefficient: codes.SCT.Mean,
    codes.DCM.StandardDeviationOfAttenuationCoefficient: codes.SCT.StandardDeviation,
}
"""Names that say again what their unit says, and the shorter ones."""
UNITS = {"[hnsf'U]": "HU", "1": "", "{pixels}": "px", "mm2": "mm²", "mm3": "mm³", "cm3": "cm³"}
"""How people write UCUM."""


def segment_name(analysis: Analysis, segment: SegmentMask) -> str:
    """``Lesion 1``: as the table calls what was found there."""
    name = term(code_of(analysis, segment).meaning)
    return _("{name} {number}").format(name=name, number=segment.number)


def place_text(finding: Answer) -> str:
    """Where the map points, in a sentence."""
    explanation = finding.explanation
    if explanation is None:
        return _unexplained(finding)
    region = explanation.evidence
    if region is None:
        return no_evidence(explanation)
    return _relation(region, finding).format(
        place=region_place(region), number=finding.segment.number if finding.segment else ""
    )


def _unexplained(answer: Answer) -> str:
    if answer.category == DERIVED_IMAGE:
        return _(MAY_DECEIVE)
    if not isinstance(answer, Finding) and answer.missing:
        return _(NOT_OUTLINED)
    shares = answer.shares if isinstance(answer, Finding) else ()
    return shares_text(shares) if shares else _("No explanation was made for this finding.")


def doubt_text(finding: Answer) -> str:
    """What the answer hangs on, and how sure it is."""
    hangs_on = finding.explanation.counterfactual if finding.explanation else ""
    certainty = finding.certainty if isinstance(finding, Finding) else ()
    return _joined(*map(term, (hangs_on, *certainty)))


def no_evidence(explanation: Explanation | None) -> str:
    """Why no heat is shown; empty where it is, or where nothing was explained."""
    if explanation is None or explanation.evidence is not None:
        return ""
    return _(WITHHELD) if explanation.withheld else _(NO_EVIDENCE)


def region_place(region: Region) -> str:
    """The centre of the region: patient coordinates, or row and column without geometry."""
    if region.centroid_mm is not None:
        return listed(coordinates(region.centroid_mm))
    _frame, row, column = region.centroid
    return _("row {}, column {}").format(fixed(row, 0), fixed(column, 0))


def coordinates(place_mm: tuple[float, float, float] | None) -> list[str]:
    """Of a place in the patient, such as ``L 6.4 mm``; nothing without geometry."""
    return [coordinate(value, axis) for axis, value in enumerate(place_mm or ())]


def listed(parts: Sequence[str]) -> str:
    """One after the other, with commas."""
    return _(", ").join(parts)


def _relation(region: Region, answer: Answer) -> str:
    """Whether map and segment or box speak of the same place: the reader's first check."""
    if answer.box is not None:
        inside = answer.box.holds(region.centroid)
        beside = _("The map names a place at {place}, outside of the box.")
        return _("The map names a place at {place}, inside the box.") if inside else beside
    segment = answer.segment
    if segment is None:
        return _("The map names a place at {place}.")
    frame, row, column = (round(value) for value in region.centroid)
    if segment.mask[frame, row, column]:
        return _("The map names a place at {place}, inside segment {number}.")
    return _("The map names a place at {place}, outside of segment {number}.")


def quality_text(quality: ExplanationQuality) -> str:
    """How far the map can be believed, with the reasons."""
    label = _("Trust in this map: {}.").format(_(TRUST_LABEL[quality.trust]))
    return _joined(label, _(TRUST[quality.trust]), *map(term, quality.reasons))


def method_text(explanation: Explanation) -> str:
    """How the map was made, and what it is not."""
    saliency = explanation.saliency
    made = _(
        "{method}, layer {layer}, in {units} on a fixed scale from 0 to {scale}; highest "
        "value {highest}."
    ).format(
        units=written(saliency.unit) if saliency.unit else _("logit units"),
        method=term(saliency.method.meaning),
        layer=saliency.layer,
        scale=number(saliency.full_scale),
        highest=number(float(saliency.peaks.max())),
    )
    return made if explanation.withheld else _joined(made, _(NOT_A_SEGMENTATION))


def explanation_text(analysis: Analysis, finding: Answer) -> str:
    """Where the map points and how it was made, for the SR, which has the verdict in codes."""
    if finding.explanation is None:
        return place_text(finding)
    return _joined(
        _("Explanation by {}.").format(analysis.manifest.id),
        place_text(finding),
        doubt_text(finding),
        method_text(finding.explanation),
    )


def shares_text(shares: Sequence[Share]) -> str:
    """What features added to the score, the strongest first."""
    each = (
        _("{name} {share}").format(
            name=measurement_text(share.feature), share=f"({_signed(share.logit)})"
        )
        for share in shares
    )
    return _(
        "What the strongest features added to the score (Shapley values, in logits, beside the "
        "mean of the training data): {}."
    ).format(_("; ").join(each))


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _joined(*sentences: str) -> str:
    """Sentences one after the other: with a space where the language has one."""
    said = list(filter(None, sentences))
    return reduce(_("{} {}").format, said) if said else ""

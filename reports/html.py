"""The report page: one self-contained HTML document made from an analysis."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from markupsafe import Markup
from PIL import Image

from dicom_node import __version__
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.explanation import QualityMeasure
from dicom_node.domain.findings import Answer, Estimate, Finding, Presence
from reports import wording
from reports.calibration import condition
from reports.case import Case
from reports.compass import slice_position
from reports.identity import described, series_number
from reports.key_slices import KeySlice, number_of
from reports.language import _, number, percent, speaking
from reports.marks import Line, legend_lines
from reports.page import foundation, rendered
from reports.pictures import Picture
from reports.settings import SHORT_DISCLAIMER
from reports.side import asked_of, side_word
from reports.terms import term


def report_html(case: Case) -> str:
    """Render the page: no script, no outside request, images as ``data:`` URLs.

    Every value that the template prints is cleaned and cut (``text.clean``), then escaped.
    """
    with speaking(case.settings.language):
        return rendered("report.html", _values(case))


def _values(case: Case) -> dict[str, Any]:
    analysis = case.analysis
    return {
        **foundation(case),
        "replaces": bool(case.predecessors),
        "summary": wording.summary(analysis),
        "first": wording.parted(analysis)[0],
        "rest": wording.parted(analysis)[1],
        "warning": wording.warning(analysis),
        "findings": [_answer(case, answer) for answer in analysis.answers],
        "slices": [_slice(case, picture) for picture in case.pictures],
        "notes": [term(note) for note in case.notes],
        "selection": analysis.selection,
        "manifest": analysis.manifest,
        "provenance": analysis.provenance,
        "facts": _facts(case),
    }


def _facts(case: Case) -> dict[str, str]:
    """What ran; times are left out, for a second run must write the same bytes."""
    lasting = {k: v for k, v in case.analysis.facts.items() if not k.endswith("seconds")}
    return {**lasting, "dicom-node": __version__}


def _answer(case: Case, answer: Answer) -> dict[str, Any]:
    return {
        "name": term(answer.code.meaning),
        "site": _site(case, answer),
        "number": number_of(case.analysis, answer),
        "where": _where(case, answer),
        "measurements": [wording.measurement_text(m) for m in answer.measurements],
        **(_finding(case, answer) if isinstance(answer, Finding) else _estimate(answer)),
        **_verdict(answer),
    }


def _site(case: Case, answer: Answer) -> str:
    """``Breast, left``."""
    asked = asked_of(answer)
    site = term(asked.site.meaning) if asked and asked.site else ""
    return wording.listed([*filter(None, (site, side_word(case.analysis.images, answer)))])


def _where(case: Case, answer: Answer) -> str:
    """The key slice; of a box its middle, too, which tells one from another."""
    images, place = case.analysis.images, case.place(answer.frame)
    middle = images.to_patient(answer.box.center) if answer.box else None
    said = slice_position(images, answer.frame)
    return wording.listed([place, *(c for c in wording.coordinates(middle) if c != said)])


def _finding(case: Case, finding: Finding) -> dict[str, Any]:
    return {
        "state": finding.presence.value.lower(),
        "presence": _(wording.PRESENCE_LABEL[finding.presence]),
        "absent": finding.presence is Presence.ABSENT,
        "probability": percent(finding.probability, finding.target.threshold),
        "condition": condition(case.analysis.manifest, finding.target),
    }


def _verdict(answer: Answer) -> dict[str, str]:
    """How far the map of what is there can be believed."""
    doubted = isinstance(answer, Finding) and answer.presence is not Presence.PRESENT
    if answer.explanation is None or doubted:
        return {"trust": ""}
    trust = answer.explanation.quality.trust
    said = _("Heat map withheld: {}") if answer.explanation.withheld else _("Heat map: {}")
    return {"trust": trust.value.lower(), "verdict": said.format(_(wording.TRUST_LABEL[trust]))}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """No yes or no."""
    state, said = "measured", _("Outlined") if estimate.outlined else _("Measured")
    if estimate.missing:
        state, said = "missing", _("Not found")
    return {"state": state, "presence": said, "absent": estimate.missing, "probability": None}


def _slice(case: Case, picture: Picture) -> dict[str, Any]:
    told = [_told(case, picture.key, answer) for answer in _explained(picture.key)]
    return {
        "number": picture.key.number,
        "title": wording.title(case.analysis, picture.key.explained),
        "place": picture.place,
        "outlined_alt": _("{place}: the source image with its outlines. {warning}.").format(
            place=picture.place, warning=_(SHORT_DISCLAIMER)
        ),
        "heated_alt": _("{place}: what raised the model's score. {where}").format(
            place=picture.place, where=" ".join(each["where"] for each in told)
        ),
        "outlined": _image(picture.outlined),
        "heated": _image(picture.heated) if picture.heated else None,
        "derived": _derived(case, picture),
        "lines": _lines(legend_lines(case.analysis, picture.key)),
        "told": told,
    }


def _explained(key: KeySlice) -> Sequence[Answer]:
    """Each answer with a map of its own place: each box, each segment that has this key slice."""
    several = [answer for answer in key.findings if answer.explanation is not None]
    return several or [key.explained]


def _told(case: Case, key: KeySlice, answer: Answer) -> dict[str, Any]:
    """Where the map of an answer points, and how far it can be believed."""
    explanation = answer.explanation
    return {
        "where": _place(case, key, answer),
        "doubt": wording.doubt_text(answer),
        "method": wording.method_text(explanation) if explanation else "",
        "quality": wording.quality_text(explanation.quality) if explanation else "",
        "trust": explanation.quality.trust.value.lower() if explanation else "",
        "measures": [_measure(m) for m in explanation.quality.measures] if explanation else [],
        "left_out": term(explanation.quality.left_out) if explanation else "",
    }


def _derived(case: Case, picture: Picture) -> dict[str, Any] | None:
    """What the model made of the slice, and where a viewer finds it."""
    made = picture.key.derived
    if picture.derived is None or made is None:
        return None
    kind = ResultKind.DERIVED_IMAGE
    return {
        **_image(picture.derived),
        "alt": _("{place}: what the model made of the source image. {warning}.").format(
            place=picture.place, warning=_(SHORT_DISCLAIMER)
        ),
        "caption": _("Derived image, in the same window: series {number}, {name}").format(
            number=series_number(case, kind), name=described(case.maker, term(made.label))
        ),
    }


def _place(case: Case, key: KeySlice, answer: Answer) -> str:
    """Where its map points; by its number, where it has not the key slice for itself."""
    where, number = wording.place_text(answer), number_of(case.analysis, answer)
    if number is None or (answer.box is None and len(key.findings) == 1):
        return where
    name = term(answer.code.meaning)
    return _("{name} {number}: {place}").format(name=name, number=number, place=where)


def _measure(measure: QualityMeasure) -> dict[str, str]:
    unit = wording.written(measure.unit)
    return {
        "name": term(measure.name.meaning),
        "value": f"{number(measure.value)} {unit}".strip(),
        "meaning": term(measure.meaning),
    }


def _lines(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "color": Markup("rgb({},{},{})").format(*line.color),
            "style": Markup("dashed") if line.dashed else Markup("solid"),
            "text": line.text,
        }
        for line in lines
    ]


def _image(image: Image.Image) -> dict[str, Any]:
    """Pictures side by side grow in proportion to their width: then they are of one height."""
    return {
        "url": data_url(image),
        "width": image.width,
        "height": image.height,
        "basis": round(image.width / 42, 1),
    }


PNG_LEVEL = 2
"""Of deflate: noisy grey pictures come out smaller than at the highest, in a fifth of the time."""


def data_url(image: Image.Image) -> Markup:
    """A picture within a page."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Markup("data:image/png;base64,{}").format(encoded)

"""The report page: one self-contained HTML document made from an analysis."""

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node import __version__
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.explanation import QualityMeasure
from dicom_node.domain.findings import Answer, Finding, Presence
from reports import wording
from reports.case import Case
from reports.compass import slice_position
from reports.identity import described, series_number
from reports.key_slices import KeySlice, boxes_in, number_of
from reports.language import N_, _, day, moment, number, percent, speaking
from reports.marks import Line, legend_lines
from reports.pictures import Picture
from reports.settings import DISCLAIMER, SHORT_DISCLAIMER
from reports.terms import term
from reports.text import clean, person

TEMPLATES = Path(__file__).parent / "templates"
LONG_TEXT = 2000
QUANTITY = re.compile(r"(?<=\d) (?=%|[^\W\d_]{1,3}\b)|(?<=\b[ALPRHF]) (?=\d)")
"""The space in ``27.4 mm``, in ``92 %`` and in ``H 85.0``."""
QUALIFICATIONS = {
    "RESEARCH": N_("for research"),
    "SERVICE": N_("for service"),
    "PRODUCT": N_("a product"),
}
"""Content Qualification (PS3.3 C.12.1)."""


def report_html(case: Case) -> str:
    """Render the page: no script, no outside request, images as ``data:`` URLs.

    Every value that the template prints is cleaned and cut (``text.clean``), then escaped.
    """
    with speaking(case.settings.language):
        return _environment().get_template("report.html").render(_values(case))


@cache
def _environment() -> Environment:
    """Made once in a process: to compile the template takes longer than to fill it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(_, _plural, newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(percent=percent, number=number, term=term, bound=_bound)
    return environment


def _plural(one: str, many: str, count: int) -> str:
    return _(one if count == 1 else many)


def _printed(value: Any) -> Any:
    """What may reach the page: our own markup as it is, all else as one clean line."""
    return value if isinstance(value, Markup | int | float) else clean(str(value), LONG_TEXT)


def _bound(text: str) -> Markup:
    """One clean line that never breaks between a number and its unit or its direction."""
    return escape(QUANTITY.sub("\u00a0", clean(text, LONG_TEXT)))


def _values(case: Case) -> dict[str, Any]:
    analysis = case.analysis
    return {
        "language": case.settings.language,
        "disclaimer": _(DISCLAIMER),
        "css": _style(),
        "made_at": moment(case.made_at),
        "replaces": bool(case.predecessors),
        "made_at_w3c": case.made_at.isoformat(timespec="seconds") + _zone(case),
        "institution": case.settings.institution_name,
        "summary": wording.summary(analysis),
        "warning": wording.warning(analysis),
        "patient": _patient(case.sources.first),
        "findings": [_answer(case, answer) for answer in analysis.answers],
        "slices": [_slice(case, picture) for picture in case.pictures],
        "notes": [term(note) for note in case.notes],
        "selection": analysis.selection,
        "manifest": analysis.manifest,
        "qualification": _(QUALIFICATIONS[analysis.manifest.content_qualification]),
        "provenance": analysis.provenance,
        "facts": _facts(case),
    }


def _style() -> Markup:
    """Our own file; the foot of a printed page in the language that is spoken."""
    style = (TEMPLATES / "report.css").read_text("utf-8")
    foot = _("AI, not for diagnostic use. Research only.")
    return Markup(style.replace("%FOOT%", foot))  # noqa: S704


def _zone(case: Case) -> str:
    """W3C dates need a zone; a clock without one is written as it stands."""
    return "Z" if case.made_at.tzinfo is None else ""


def _patient(source: Dataset) -> list[tuple[str, str]]:
    """Label and value of what identifies patient and study; nothing that is empty."""
    study_day, birth = (str(source.get(k) or "") for k in ("StudyDate", "PatientBirthDate"))
    pairs = (
        (_("Patient"), person(source.get("PatientName") or "")),
        (_("Patient ID"), _with_issuer(source)),
        (_("Born"), _day(birth)),
        (_("Sex"), _sex(str(source.get("PatientSex") or ""))),
        (_("Study"), str(source.get("StudyDescription") or "")),
        (_("Study date"), _day(study_day)),
        (_("Accession number"), str(source.get("AccessionNumber") or "")),
    )
    return [(label, clean(value, 80)) for label, value in pairs if value]


def _sex(value: str) -> str:
    """PS3.3 C.7.1.1; what the standard does not define as it stands."""
    names = {"M": N_("male"), "F": N_("female"), "O": N_("other")}
    return _(names[value]) if value in names else value


def _with_issuer(source: Dataset) -> str:
    patient_id, issuer = source.get("PatientID") or "", source.get("IssuerOfPatientID") or ""
    return _("{} (issued by {})").format(patient_id, issuer) if issuer else str(patient_id)


def _day(value: str) -> str:
    """A DA value by locale; what is no date as it stands."""
    try:
        return day(datetime.strptime(value, "%Y%m%d").date())
    except ValueError:
        return value


def _facts(case: Case) -> dict[str, str]:
    """What ran; times are left out, for a second run must write the same bytes."""
    lasting = {k: v for k, v in case.analysis.facts.items() if not k.endswith("seconds")}
    return {**lasting, "dicom-node": __version__}


def _answer(case: Case, answer: Answer) -> dict[str, Any]:
    asked = answer.target if isinstance(answer, Finding) else answer.quantity
    return {
        "name": term(answer.code.meaning),
        "site": term(asked.site.meaning) if asked and asked.site else "",
        "number": number_of(case.analysis, answer),
        "where": _where(case, answer),
        "measurements": [wording.measurement_text(m) for m in answer.measurements],
        **(_finding(answer) if isinstance(answer, Finding) else _estimate()),
    }


def _where(case: Case, answer: Answer) -> str:
    """The key slice; of a box its middle, too, which tells one from another."""
    images, place = case.analysis.images, case.place(answer.frame)
    middle = images.to_patient(answer.box.center) if answer.box else None
    said = slice_position(images, answer.frame)
    return wording.listed([place, *(c for c in wording.coordinates(middle) if c != said)])


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "state": finding.presence.value.lower(),
        "presence": _(wording.PRESENCE_LABEL[finding.presence]),
        "absent": finding.presence is Presence.ABSENT,
        "probability": finding.probability,
        "threshold": finding.target.threshold,
        **_verdict(finding),
    }


def _verdict(finding: Finding) -> dict[str, str]:
    """How far the map of what is present can be believed."""
    if finding.explanation is None or finding.presence is not Presence.PRESENT:
        return {"trust": ""}
    trust = finding.explanation.quality.trust
    said = _("Heat map withheld: {}") if finding.explanation.withheld else _("Heat map: {}")
    return {"trust": trust.value.lower(), "verdict": said.format(_(wording.TRUST_LABEL[trust]))}


def _estimate() -> dict[str, Any]:
    """No yes or no."""
    measured = _("Measured")
    state = {"state": "measured", "presence": measured}
    return {**state, "absent": False, "probability": None, "trust": ""}


def _slice(case: Case, picture: Picture) -> dict[str, Any]:
    finding = picture.key.explained
    explanation = finding.explanation
    return {
        "number": picture.key.number,
        "title": wording.title(finding),
        "place": picture.place,
        "outlined_alt": _("{place}: the source image with its outlines. {warning}.").format(
            place=picture.place, warning=_(SHORT_DISCLAIMER)
        ),
        "heated_alt": _("{place}: what raised the model's score. {where}").format(
            place=picture.place, where=wording.place_text(finding)
        ),
        "outlined": _image(picture.outlined),
        "heated": _image(picture.heated) if picture.heated else None,
        "derived": _derived(case, picture),
        "lines": _lines(legend_lines(case.analysis, picture.key)),
        "where": _places(case, picture.key),
        "doubt": wording.doubt_text(finding),
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
            number=series_number(case, kind), name=described(case.maker, made.label)
        ),
    }


def _places(case: Case, key: KeySlice) -> list[str]:
    """Where the map points; of boxes each by its number, for each has a map of its own."""
    each = [
        _("{name} {number}: {place}").format(
            name=term(finding.code.meaning), number=number, place=wording.place_text(finding)
        )
        for number, finding, _box in boxes_in(case.analysis, key)
    ]
    return each or [wording.place_text(key.explained)]


def _measure(measure: QualityMeasure) -> dict[str, str]:
    unit = wording.UNITS.get(measure.unit.value, measure.unit.value)
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

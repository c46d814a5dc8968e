"""What the pages have in common: the template engine, the style, who and which study."""

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from pydicom.dataset import Dataset

from reports.card_terms import of_card
from reports.language import N_, _, day, moment, number
from reports.settings import DISCLAIMER
from reports.subject import Subject
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


def rendered(template: str, values: dict[str, Any]) -> str:
    """Fill a template, in the language that is spoken."""
    return str(_environment().get_template(template).render(values))


def foundation(subject: Subject) -> dict[str, Any]:
    """Values that every page has."""
    zone = "Z" if subject.made_at.tzinfo is None else ""
    return {
        "language": subject.settings.language,
        "disclaimer": _(DISCLAIMER),
        "css": _style(),
        "made_at": moment(subject.made_at),
        "made_at_w3c": subject.made_at.isoformat(timespec="seconds") + zone,
        "institution": subject.settings.institution_name,
        "patient": _patient(subject.sources.first),
        "qualification": _(QUALIFICATIONS[subject.maker.content_qualification]),
    }


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
    environment.filters.update(number=number, term=term, bound=_bound, of_card=of_card)
    return environment


def _plural(one: str, many: str, count: int) -> str:
    return _(one if count == 1 else many)


def _printed(value: Any) -> Any:
    """What may reach the page: our own markup as it is, all else as one clean line."""
    return value if isinstance(value, Markup | int | float) else clean(str(value), LONG_TEXT)


def _bound(text: str) -> Markup:
    """One clean line that never breaks between a number and its unit or its direction."""
    return escape(QUANTITY.sub("\u00a0", clean(text, LONG_TEXT)))


def _style() -> Markup:
    """Our own file; the foot of a printed page in the language that is spoken."""
    style = (TEMPLATES / "report.css").read_text("utf-8")
    foot = _("AI, not for diagnostic use. Research only.")
    return Markup(style.replace("%FOOT%", foot))  # noqa: S704


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

"""The page in place of a report: what was asked, that it was not analysed, why, what to do."""

from typing import Any

from dicom_node import __version__
from dicom_node.domain.asked import Asked, about
from dicom_node.domain.job import NODE
from dicom_node.domain.outputs import Quantity
from reports.causes import cause
from reports.language import _, speaking
from reports.page import foundation, rendered
from reports.side import word_of
from reports.terms import term
from reports.unanalysed import NOT_NEGATIVE, Answer, outcome_text
from reports.wording import listed


def answer_html(answer: Answer) -> str:
    """Render the page, by the rules of ``html.report_html``."""
    with speaking(answer.settings.language):
        return rendered("answer.html", _values(answer))


def _values(answer: Answer) -> dict[str, Any]:
    return {
        **foundation(answer),
        "maker": answer.maker,
        "outcome": outcome_text(answer),
        "warning": _(NOT_NEGATIVE),
        "advice": _(cause(answer.reason).advice),
        "reason": answer.reason,
        "replaces": bool(answer.predecessors),
        "asked": [_asked(asked) for asked in answer.asked],
        "of_model": answer.model_name != NODE,
        "selection": answer.selection,
        "study_uid": answer.provenance.study_instance_uid,
        "version": __version__,
    }


def _asked(asked: Asked) -> dict[str, str]:
    """``Phantom: Diameter`` of what is measured; the site with its side."""
    name = term(about(asked).meaning)
    if isinstance(asked, Quantity):
        measured = term(asked.concept.meaning)
        name = _("{name}: {measurement}").format(name=name, measurement=measured)
    site = term(asked.site.meaning) if asked.site else ""
    return {"name": name, "site": listed([*filter(None, (site, _side(asked)))])}


def _side(asked: Asked) -> str:
    return word_of(asked.laterality.code) if asked.laterality else ""

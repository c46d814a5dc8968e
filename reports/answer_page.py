"""The page in place of a report: what was asked, that it was not analysed, why, what to do."""

from typing import Any

from dicom_node import __version__
from dicom_node.domain.job import NODE
from dicom_node.domain.manifest import Target
from reports.causes import cause
from reports.language import _, speaking
from reports.page import foundation, rendered
from reports.terms import term
from reports.unanalysed import NOT_NEGATIVE, Answer, outcome_text


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
        "targets": [_target(target) for target in answer.targets],
        "of_model": answer.model_name != NODE,
        "selection": answer.selection,
        "study_uid": answer.provenance.study_instance_uid,
        "version": __version__,
    }


def _target(target: Target) -> dict[str, str]:
    site = term(target.site.meaning) if target.site else ""
    return {"name": term(target.finding.meaning), "site": site}

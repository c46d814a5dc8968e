"""Answer: what the node knows of a study, or of a model's job, that has no result."""

from dataclasses import dataclass
from datetime import datetime

from dicom_node.domain.asked import Asked
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.provenance import Provenance
from reports.causes import NOT_ATTEMPTED, cause
from reports.language import N_, _
from reports.references import Reference
from reports.settings import ReportSettings
from reports.source import Sources
from reports.subject import Maker, study_time

NOT_NEGATIVE = N_("This is not a negative result.")


@dataclass(frozen=True)
class Answer:
    """What the node knows of a study, or of a model's job, that has no result."""

    reason: str
    """Reason code of the job or the study."""
    sources: Sources
    """Of one image at least."""
    images: tuple[Reference, ...]
    """All images that were offered."""
    maker: Maker
    provenance: Provenance
    """``input_sha256`` must also depend on the reason: another reason is another document."""
    settings: ReportSettings
    model_name: str = ""
    asked: tuple[Asked, ...] = ()
    """What the model would have searched for, outlined or measured."""
    selection: tuple[SeriesChoice, ...] = ()
    predecessors: tuple[Reference, ...] = ()

    @property
    def made_at(self) -> datetime:
        """See ``Subject``."""
        return study_time(self.provenance.opened_at, self.sources.first)


def outcome_text(answer: Answer) -> str:
    """Whether it was tried, and why there is nothing."""
    why = cause(answer.reason)
    attempted = why.outcome != NOT_ATTEMPTED
    outcome = _("The analysis failed: {}") if attempted else _("Not analysed: {}")
    return outcome.format(_(why.words))


def answer_text(answer: Answer) -> str:
    """The answer in words."""
    parts = (outcome_text(answer), _(NOT_NEGATIVE), answer.reason)
    return _("{} {} (reason code {})").format(*parts)

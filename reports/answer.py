"""The SR in place of a result: what was not analysed, and why. Silence never reads as negative."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    LanguageOfContentItemAndDescendants,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.manifest import Target
from dicom_node.domain.provenance import Provenance
from reports.causes import NOT_ATTEMPTED, cause
from reports.document import document
from reports.identity import described
from reports.image_library import container
from reports.language import _, speaking
from reports.measurement_groups import PRESENCE, PRESENCE_OF_PROPERTY, parameters
from reports.references import Reference
from reports.settings import DISCLAIMER, ReportSettings
from reports.source import Sources
from reports.structured_report import (
    LANGUAGES,
    QUALITATIVE_EVALUATIONS,
    observer,
    procedures_reported,
)
from reports.subject import Maker, study_time
from reports.terms import term
from reports.verdict import COMMENT, REASON

CONTAINS = RelationshipTypeValues.CONTAINS


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
    targets: tuple[Target, ...] = ()
    """What the model would have searched for."""
    selection: tuple[SeriesChoice, ...] = ()
    predecessors: tuple[Reference, ...] = ()

    @property
    def made_at(self) -> datetime:
        """See ``Subject``."""
        return study_time(self.provenance.opened_at, self.sources.first)


def answer_document(
    answer: Answer, kind: ResultKind = ResultKind.STRUCTURED_REPORT
) -> ResultInstance:
    """TID 1500, in one of its forms: every target Undetermined, the coded cause, the trace."""
    with speaking(answer.settings.language):
        return ResultInstance(kind, _document(answer, kind))


def _document(answer: Answer, kind: ResultKind) -> Dataset:
    dataset = document(answer, kind, _content(answer), answer.images, answer.predecessors)
    dataset.SeriesDescription = described(answer.maker, _("no result"))
    return dataset


def _content(answer: Answer) -> ContainerContentItem:
    """By hand: highdicom's TID 1500 wants measurements, and of nothing there are none."""
    root = ContainerContentItem(name=codes.DCM.ImagingMeasurementReport, template_id="1500")
    language = LanguageOfContentItemAndDescendants(LANGUAGES[answer.settings.language])
    root.ContentSequence = ContentSequence(
        [
            *language,
            *ObservationContext(observer_device_context=observer(answer.maker)),
            *map(_procedure, procedures_reported(answer.sources.first)),
            *_undetermined(answer),
            container(QUALITATIVE_EVALUATIONS, _why(answer)),
        ]
    )
    return root


def _procedure(code: Code) -> CodeContentItem:
    relation = RelationshipTypeValues.HAS_CONCEPT_MOD
    return CodeContentItem(codes.DCM.ProcedureReported, code, relation)


def _undetermined(answer: Answer) -> list[ContentItem]:
    """TID 1501 for each target: neither present nor absent."""
    if not answer.targets:
        return []
    measurements = container(codes.DCM.ImagingMeasurements, [])
    for target in answer.targets:
        measurements.ContentSequence.extend(_group(answer, target))
    return [measurements]


def _group(answer: Answer, target: Target) -> MeasurementsAndQualitativeEvaluations:
    uid = answer.provenance.tracking_uid(answer.model_name, target.label)
    presence = QualitativeEvaluation(PRESENCE_OF_PROPERTY, PRESENCE[Presence.UNDETERMINED])
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid, target.label),
        finding_type=target.finding.code,
        finding_category=target.category.code,
        algorithm_id=AlgorithmIdentification(
            name=answer.maker.title,
            version=answer.maker.version,
            manufacturer=answer.maker.manufacturer,
            family=codes.DCM.ArtificialIntelligence,
            parameters=parameters(target, answer.provenance),
        ),
        qualitative_evaluations=[presence],
    )


def _why(answer: Answer) -> list[ContentItem]:
    why = cause(answer.reason)
    said = [_(DISCLAIMER), answer_text(answer), *_trace(answer.selection)]
    return [
        CodeContentItem(codes.DCM.SummaryOfAnalyses, why.outcome, CONTAINS),
        CodeContentItem(CodedConcept(*REASON[:3]), why.code, CONTAINS),
        *(TextContentItem(COMMENT, text, CONTAINS) for text in said),
    ]


def answer_text(answer: Answer) -> str:
    """The answer in words."""
    why = cause(answer.reason)
    attempted = why.outcome != NOT_ATTEMPTED
    outcome = _("The analysis failed: {}") if attempted else _("Not analysed: {}")
    parts = (outcome.format(_(why.words)), _("This is not a negative result."), answer.reason)
    return _("{} {} (reason code {})").format(*parts)


def _trace(selection: Sequence[SeriesChoice]) -> list[str]:
    return [
        (_("Series {} taken: {}") if choice.taken else _("Series {} not taken: {}")).format(
            choice.series_instance_uid, term(choice.reason)
        )
        for choice in selection
    ]

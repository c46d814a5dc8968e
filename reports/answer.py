"""What stands in place of a result: what was not analysed, and why.

Silence never reads as negative: it is told as an SR, and as a page for who reads none.
"""

from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
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
from dicom_node.domain.asked import Asked, about
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.job import SeriesChoice
from reports.answer_page import answer_html
from reports.causes import cause
from reports.document import FORMS, document
from reports.encapsulated_pdf import encapsulated
from reports.identity import described
from reports.image_library import container
from reports.language import _, speaking
from reports.measurement_groups import PRESENCE, PRESENCE_OF_PROPERTY, parameters
from reports.settings import DISCLAIMER, SHORT_DISCLAIMER
from reports.structured_report import (
    LANGUAGES,
    QUALITATIVE_EVALUATIONS,
    observer,
    procedures_reported,
)
from reports.terms import term
from reports.unanalysed import Answer, answer_text
from reports.verdict import COMMENT, REASON

CONTAINS = RelationshipTypeValues.CONTAINS


ANSWERS = (ResultKind.ENCAPSULATED_PDF, *FORMS)
"""Kinds of result that an answer can be given as, in the order of sending."""


def answer_document(
    answer: Answer, kind: ResultKind = ResultKind.STRUCTURED_REPORT
) -> ResultInstance:
    """As TID 1500 in one of its forms, or as a page: all asked Undetermined, cause, trace."""
    made = _page if kind is ResultKind.ENCAPSULATED_PDF else _report
    with speaking(answer.settings.language):
        dataset = made(answer, kind)
        dataset.SeriesDescription = described(answer.maker, _("no result"))
    return ResultInstance(kind, dataset)


def _page(answer: Answer, _kind: ResultKind) -> Dataset:
    title = _("AI, no result: {}. {}").format(answer.maker.title, _(SHORT_DISCLAIMER))
    page = answer_html(answer)
    return encapsulated(answer, title, page, answer.images, answer.predecessors)


def _report(answer: Answer, kind: ResultKind) -> Dataset:
    return document(answer, kind, _content(answer), answer.images, answer.predecessors)


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
    """TID 1501 for each thing asked: neither present nor absent."""
    if not answer.asked:
        return []
    measurements = container(codes.DCM.ImagingMeasurements, [])
    for asked in answer.asked:
        measurements.ContentSequence.extend(_group(answer, asked))
    return [measurements]


def _group(answer: Answer, asked: Asked) -> MeasurementsAndQualitativeEvaluations:
    uid = answer.provenance.tracking_uid(answer.model_name, asked.label)
    presence = QualitativeEvaluation(PRESENCE_OF_PROPERTY, PRESENCE[Presence.UNDETERMINED])
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid, asked.label),
        finding_type=about(asked).code,
        finding_category=asked.category.code,
        finding_sites=_sites(asked),
        algorithm_id=AlgorithmIdentification(
            name=answer.maker.title,
            version=answer.maker.version,
            manufacturer=answer.maker.manufacturer,
            family=codes.DCM.ArtificialIntelligence,
            parameters=parameters(asked, answer.provenance),
        ),
        qualitative_evaluations=[presence],
    )


def _sites(asked: Asked) -> list[FindingSite] | None:
    """With its side, where the model is of one side alone."""
    if asked.site is None:
        return None
    side = asked.laterality.code if asked.laterality else None
    return [FindingSite(anatomic_location=asked.site.code, laterality=side)]


def _why(answer: Answer) -> list[ContentItem]:
    why = cause(answer.reason)
    said = [_(DISCLAIMER), answer_text(answer), *_trace(answer.selection)]
    return [
        CodeContentItem(codes.DCM.SummaryOfAnalyses, why.outcome, CONTAINS),
        CodeContentItem(CodedConcept(*REASON[:3]), why.code, CONTAINS),
        *(TextContentItem(COMMENT, text, CONTAINS) for text in said),
    ]


def _trace(selection: Sequence[SeriesChoice]) -> list[str]:
    return [
        (_("Series {} taken: {}") if choice.taken else _("Series {} not taken: {}")).format(
            choice.series_instance_uid, term(choice.reason)
        )
        for choice in selection
    ]

"""The SR: TID 1500 Measurement Report as Comprehensive 3D SR (PS3.3 A.35.13, PS3.16)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from reports.card_terms import of_card
from reports.case import Case
from reports.document import FORMS, document, stated_procedures
from reports.identity import LONG_STRING
from reports.image_library import container, image_library
from reports.language import _
from reports.measurement_groups import measurement_group
from reports.references import Reference
from reports.settings import DISCLAIMER
from reports.subject import Maker
from reports.terms import term
from reports.verdict import COMMENT
from reports.wording import summary, warning

QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
LANGUAGES: Mapping[str, CodedConcept] = {
    "en": CodedConcept("en", "RFC5646", "English"),
    "de": CodedConcept("de", "RFC5646", "German"),
    "zh-Hans": CodedConcept("zh-Hans", "RFC5646", "Chinese (Simplified)"),
}
"""CID 5000."""
PROCEDURES: Mapping[str, Code] = {
    "CT": codes.cid100.CTUnspecifiedBodyRegion,
    "MR": codes.cid100.MRIUnspecifiedBodyRegion,
    "PT": codes.cid100.PETUnspecifiedBodyRegion,
    "NM": codes.cid100.NMUnspecifiedBodyRegion,
    "CR": codes.cid100.XRUnspecifiedBodyRegion,
    "DX": codes.cid100.XRUnspecifiedBodyRegion,
    "MG": codes.cid100.XRUnspecifiedBodyRegion,
}
"""CID 100, where the source states no procedure code of that group."""


@dataclass(frozen=True, slots=True)
class StructuredReportWriter:
    """Writes the root of the results: it names all findings and refers to all other objects."""

    kind: ResultKind = ResultKind.STRUCTURED_REPORT
    """Or another of ``FORMS``, which know no 3D, for peers that refuse Comprehensive 3D SR."""

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance; everything in ``earlier`` but its other form is evidence."""
        others = [r for r in earlier if r.kind not in FORMS]
        written = [r.dataset for r in earlier if r.kind in FORMS]
        content = _content(case, others, flat=self.kind is not ResultKind.STRUCTURED_REPORT)[0]
        made = (Reference.to(result.dataset) for result in others)
        evidence = [*case.references.values(), *made]
        dataset = document(case, self.kind, content, evidence, case.predecessors)
        *context, measurements, remarks = dataset.ContentSequence
        library = next(map(_library, written), None) or image_library(case)
        dataset.ContentSequence = [*context, library, measurements, remarks]
        return [ResultInstance(self.kind, dataset)]


def _library(report: Dataset) -> Dataset:
    """Of another form of the same report: it holds thousands of items, all the same."""
    library: Dataset = report.ContentSequence[-3]
    return library


def _content(case: Case, earlier: Sequence[ResultInstance], *, flat: bool) -> MeasurementReport:
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer(case.maker)),
        procedure_reported=procedures_reported(case.sources.first),
        imaging_measurements=[
            measurement_group(case, finding, earlier, flat=flat)
            for finding in case.analysis.answers
        ],
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            LANGUAGES[case.settings.language]
        ),
    )
    report[0].ContentSequence.append(_remarks(case))
    return report


def observer(maker: Maker) -> ObserverContext:
    """TID 1004: the model is the observer; its UID stays for one version of its bytes."""
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=maker.device_uid,
            name=maker.title,
            manufacturer_name=maker.manufacturer,
            model_name=maker.id,
            serial_number=maker.serial_number[:LONG_STRING],
        ),
    )


def procedures_reported(source: Dataset) -> Sequence[Code]:
    """What was done, in the words of CID 100: a site's own codes stand in the header instead."""
    known = [code for code in stated_procedures(source) if code in codes.cid100]
    return known or [PROCEDURES.get(source.get("Modality"), codes.cid100.ImagingProcedure)]


def _remarks(case: Case) -> ContentItem:
    """TID 1500 rows 12 to 14: that it ran (CID 6042), and what a reader of the SR must know."""
    card = case.analysis.manifest.card
    texts = [
        _(DISCLAIMER),
        summary(case.analysis),
        *filter(None, [warning(case.analysis)]),
        *map(term, case.notes),
        _("Intended use: {}").format(of_card(card.intended_use)),
        _("Not for: {}").format(of_card(card.not_for)),
        *_selection(case),
    ]
    contains = RelationshipTypeValues.CONTAINS
    status = CodeContentItem(codes.DCM.SummaryOfAnalyses, codes.cid6042.Succeeded, contains)
    comments = [TextContentItem(COMMENT, text, contains) for text in texts]
    return container(QUALITATIVE_EVALUATIONS, [status, *comments])


def _selection(case: Case) -> list[str]:
    """Why each series was read or not, one line each."""
    return [
        (_("Series {} read: {}") if choice.taken else _("Series {} not read: {}")).format(
            choice.series_instance_uid, term(choice.reason)
        )
        for choice in case.analysis.selection
    ]

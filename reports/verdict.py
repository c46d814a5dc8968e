"""How far a heat map can be believed, as the SR states it: coded, with reasons and numbers."""

from collections.abc import Iterable

from highdicom.sr import (
    CodeContentItem,
    ContentItem,
    ContentSequence,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.domain import concepts
from dicom_node.domain.explanation import ExplanationQuality, QualityMeasure, Trust
from reports.terms import term

VERDICTS = {
    Trust.RELIABLE: concepts.RELIABLE,
    Trust.CAUTION: concepts.CAUTION,
    Trust.NOT_RELIABLE: concepts.NOT_RELIABLE,
    Trust.NOT_MEASURED: concepts.NOT_MEASURED,
}
REASON = Code("410666004", "SCT", "Reason")
COMMENT = Code("121106", "DCM", "Comment")
HAS_PROPERTIES = RelationshipTypeValues.HAS_PROPERTIES


def verdict(quality: ExplanationQuality) -> CodeContentItem:
    """The verdict, inferred from its numbers, so that none of them passes for one of the lesion."""
    item = CodeContentItem(concepts.TRUST, VERDICTS[quality.trust], RelationshipTypeValues.CONTAINS)
    reasons = [TextContentItem(REASON, term(text), HAS_PROPERTIES) for text in quality.reasons]
    children = [*reasons, *map(_number, quality.measures)]
    if quality.left_out:
        children.append(TextContentItem(COMMENT, term(quality.left_out), HAS_PROPERTIES))
    if children:
        item.ContentSequence = ContentSequence(children)
    return item


def _number(measure: QualityMeasure) -> ContentItem:
    item = NumContentItem(
        measure.name,
        measure.value,
        measure.unit,
        relationship_type=RelationshipTypeValues.INFERRED_FROM,
    )
    meaning = TextContentItem(COMMENT, term(measure.meaning), HAS_PROPERTIES)
    item.ContentSequence = ContentSequence([meaning])
    return item


def name_our_codes(dataset: Dataset, within: Iterable[Dataset]) -> None:
    """Say whose the codes of our scheme are, where items hold one (PS3.3 C.12.1.1.7)."""
    if not any(map(_is_ours, within)):
        return
    scheme = Dataset()
    scheme.CodingSchemeDesignator = concepts.SCHEME
    scheme.CodingSchemeName = concepts.SCHEME_NAME
    scheme.CodingSchemeResponsibleOrganization = concepts.SCHEME_OWNER
    dataset.CodingSchemeIdentificationSequence = [scheme]


def _is_ours(item: Dataset) -> bool:
    if item.get("CodingSchemeDesignator") == concepts.SCHEME:
        return True
    return any(_is_ours(each) for element in item if element.VR == "SQ" for each in element.value)

"""Visual Explanation: what the SR says of the heat map, as data and as picture (TID 1410)."""

from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.explanation import Explanation
from dicom_node.domain.findings import Answer
from reports.case import Case
from reports.identity import instance_uid
from reports.parametric_map import maps
from reports.secondary_capture import captured

VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")


def visual_explanations(
    case: Case, finding: Answer, explanation: Explanation, earlier: Sequence[ResultInstance]
) -> list[ImageContentItem]:
    """The map of a finding, then the pictures of it, of those that were written.

    None where the map is withheld: what failed its checks explains nothing. Of a map that names no
    place no picture shows anything.
    """
    if explanation.withheld:
        return []
    written = {str(result.dataset.SOPInstanceUID): result.dataset for result in earlier}
    pictures = captured(case, finding) if explanation.evidence is not None else []
    places = [*_maps(case, explanation), *pictures]
    found = ((written.get(uid), frame) for uid, frame in places)
    return [_item(dataset, frame, explanation) for dataset, frame in found if dataset is not None]


def _maps(case: Case, explanation: Explanation) -> list[tuple[str, int | None]]:
    """All frames of the map: the finding may lie in any of them."""
    return [
        (instance_uid(case, ResultKind.PARAMETRIC_MAP, index), None)
        for index, saliency in enumerate(maps(case))
        if saliency is explanation.saliency
    ]


def _item(dataset: Dataset, frame: int | None, explanation: Explanation) -> ImageContentItem:
    item = ImageContentItem(
        name=VISUAL_EXPLANATION,
        referenced_sop_class_uid=dataset.SOPClassUID,
        referenced_sop_instance_uid=dataset.SOPInstanceUID,
        referenced_frame_numbers=frame,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    method = CodeContentItem(
        name=MEASUREMENT_METHOD,
        value=explanation.saliency.method,
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    item.ContentSequence = ContentSequence([method])
    return item

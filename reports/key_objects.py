"""Key Object Selection: the slices that matter, and what shows why (PS3.3 A.35.4, TID 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.delivery import ResultKind
from reports.case import Case
from reports.identity import identify, instance_uid, series_uid
from reports.key_slices import is_absent
from reports.language import _
from reports.presentation import images
from reports.requests import referenced_requests
from reports.settings import DISCLAIMER
from reports.source import UTF8
from reports.structured_report import observer
from reports.wording import summary, warning

KIND = ResultKind.KEY_OBJECTS
SHOWN_BY = frozenset({ResultKind.PARAMETRIC_MAP, ResultKind.SECONDARY_CAPTURE})


@dataclass(frozen=True, slots=True)
class KeyObjectsWriter:
    """Writes one selection, or nothing where nothing was found: an absence has no key image."""

    kind: ClassVar[ResultKind] = KIND

    def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
        """Return one instance, or none; it names the maps and captures in ``earlier``, too."""
        if all(is_absent(answer) for answer in case.analysis.answers):
            return []
        slices = images(case.reference(key.frame) for key in case.key_slices)
        headers = {str(header.SOPInstanceUID): header for header in case.sources.headers}
        chosen = [headers[item.ReferencedSOPInstanceUID] for item in slices]
        shown = [result.dataset for result in earlier if result.kind in SHOWN_BY]
        dataset = _document(case, [*chosen, *shown])
        _refer(dataset, slices)
        if requests := referenced_requests(case):
            dataset.ReferencedRequestSequence = requests
        identify(dataset, case, KIND)
        return [ResultInstance(KIND, dataset)]


def _document(case: Case, objects: Sequence[Dataset]) -> Dataset:
    said = (_(DISCLAIMER), warning(case.analysis), summary(case.analysis))
    content = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=objects,
        observer_device_context=observer(case.maker),
        description=" ".join(filter(None, said)),
    )
    return KeyObjectSelectionDocument(
        evidence=objects,
        content=content,
        series_instance_uid=series_uid(case, KIND),
        series_number=case.settings.series_number_base,
        sop_instance_uid=instance_uid(case, KIND),
        instance_number=1,
        manufacturer=case.maker.manufacturer,
        specific_character_set=UTF8,
    )


def _refer(dataset: Dataset, slices: Sequence[Dataset]) -> None:
    """The constructor refers to all frames of an image, by a name that TID 2010 forbids (row 8)."""
    wanted = {i.ReferencedSOPInstanceUID: i.get("ReferencedFrameNumber") for i in slices}
    for item in dataset.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            item.pop("ConceptNameCodeSequence", None)
            if numbers := wanted.get(reference.ReferencedSOPInstanceUID):
                reference.ReferencedFrameNumber = numbers

"""References to composite objects, grouped as DICOM groups them (PS3.3 Table C.17-3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Reference:
    """Where one instance is."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def to(cls, dataset: Dataset) -> Self:
        """The reference to an instance, by its header."""
        return cls(
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
            str(dataset.SOPClassUID),
            str(dataset.SOPInstanceUID),
        )

    @cached_property
    def item(self) -> Dataset:
        """SOP Instance Reference Macro (PS3.3 Table 10-11); many sequences hold this one item."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class_uid
        item.ReferencedSOPInstanceUID = self.sop_instance_uid
        return item


def hierarchical(references: Iterable[Reference], purpose: Dataset | None = None) -> list[Dataset]:
    """Items of Hierarchical SOP Instance Reference Macro: studies, in them series and instances.

    The same instance is named once. ``purpose`` is the item of a code (CID 7009).
    """
    studies: dict[str, dict[str, list[Reference]]] = {}
    for reference in dict.fromkeys(references):
        series = studies.setdefault(reference.study_instance_uid, {})
        series.setdefault(reference.series_instance_uid, []).append(reference)
    return [_study(uid, series, purpose) for uid, series in studies.items()]


def _study(uid: str, series: Mapping[str, list[Reference]], purpose: Dataset | None) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = uid
    item.ReferencedSeriesSequence = [_series(*each, purpose) for each in series.items()]
    return item


def _series(uid: str, references: Iterable[Reference], purpose: Dataset | None) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    items = [reference.item for reference in references]
    item.ReferencedSOPSequence = [_with_purpose(i, purpose) for i in items] if purpose else items
    return item


def _with_purpose(reference: Dataset, purpose: Dataset) -> Dataset:
    item = Dataset({element.tag: element for element in reference})
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item

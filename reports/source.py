"""Headers of the source images, repaired: what every output may copy without harm.

A source may lack type 2 attributes, hold values that its value representation forbids, or speak
any of DICOM's character sets. The repaired header is a copy in UTF-8 that holds only what outputs
need; what was changed is named by its keyword, never by its value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian

from reports.attributes import EQUIPMENT, IMAGE, PATIENT, STUDY, UNTRUE_OF_COPIES
from reports.modules import complete
from reports.planes import NOTICEABLE, decimal, unit_cosines
from reports.repair import repaired

UTF8 = "ISO_IR 192"
SIDES = ("L", "R")
"""Of a series (PS3.3 C.7.3.1); an image may show both."""
UNREADABLE = object()
"""Stands for a value that pydicom cannot read."""
LAST_OF_FILES = 0x0007FFFF
"""Groups below belong to messages and files."""
COSINES = 6
"""Values of Image Orientation (Patient)."""


@dataclass(frozen=True)
class Sources:
    """Repaired headers of the source images."""

    headers: tuple[Dataset, ...]
    """One for each instance, in the order of the analysis."""
    repairs: tuple[str, ...]
    """Attributes that had to be changed or left out, as ``Keyword`` or ``Sequence.Keyword``."""
    missing: tuple[str, ...] = ()
    """Attributes that the source lacks and results must have."""

    @property
    def first(self) -> Dataset:
        """The header that patient and study attributes are copied from."""
        return self.headers[0]

    @cached_property
    def common(self) -> Mapping[str, Any]:
        """What is of a series, where all images state the same; results of several are one.

        The part of the body, and its side, which may be stated of the series or of each image.
        """
        stated = {
            "BodyPartExamined": {header.get("BodyPartExamined") for header in self.headers},
            "Laterality": {_side(header) for header in self.headers},
        }
        return {k: next(iter(v)) if len(v) == 1 else None for k, v in stated.items()}


def repaired_sources(datasets: Sequence[Dataset], *, whole: bool = False) -> Sources:
    """Repair headers; patient and study are taken from the first, for they are one study's.

    ``whole``: with everything that an image derived from one may have of it. Raises nothing for
    bad values; ``IndexError`` without any data set.
    """
    shared = _copied(datasets[0], (*PATIENT, *STUDY, *EQUIPMENT), {})
    known: dict[str, _Copy] = {}
    images = [_copied(d, (*IMAGE, *(_further(d) if whole else ())), known) for d in datasets]
    headers = tuple(_header(shared, image) for image in images)
    missing, *_ = [complete(header) for header in headers]
    copies = (copy for each in (shared, *images) for copy in each.values())
    noted = (name for copy in copies for name in copy.changed)
    return Sources(headers, tuple(dict.fromkeys(noted)), missing)


def _side(header: Dataset) -> str | None:
    stated = header.get("ImageLaterality") or header.get("Laterality")
    return stated if stated in SIDES else None


@dataclass(frozen=True, slots=True)
class _Copy:
    """One attribute, as a source states it and as results may hold it."""

    stated: Any
    element: DataElement | None
    changed: tuple[str, ...]


Copies = dict[str, _Copy]
"""By keyword, of one header."""


def _header(shared: Copies, image: Copies) -> Dataset:
    elements = [copy.element for copy in (*shared.values(), *image.values()) if copy.element]
    header = Dataset({element.tag: element for element in elements})
    header.SpecificCharacterSet = UTF8
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def _copied(dataset: Dataset, keywords: Iterable[str], known: Copies) -> Copies:
    """``known`` holds what was copied of other images: most is the same, and is then shared."""
    copies = {}
    for keyword in keywords:
        tag = _tag(keyword)
        if tag in dataset:
            stated = _stated(dataset, tag)
            if keyword not in known or known[keyword].stated != stated:
                known[keyword] = _copy(dataset, keyword, stated)
            copies[keyword] = known[keyword]
    return copies


def _further(dataset: Dataset) -> list[str]:
    """What else a header holds that may be copied."""
    return [keyword for keyword in map(_copyable, dataset.keys()) if keyword]


@lru_cache(maxsize=4096)
def _copyable(tag: BaseTag) -> str:
    """The keyword of a standard attribute; none for those that repeat, as overlays do."""
    keyword = keyword_for_tag(tag)
    wanted = keyword not in IMAGE and keyword not in UNTRUE_OF_COPIES
    return keyword if wanted and tag_for_keyword(keyword) == tag > LAST_OF_FILES else ""


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _stated(dataset: Dataset, tag: BaseTag) -> Any:
    try:
        return dataset[tag].value
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on bytes it cannot read
        return UNREADABLE


def _copy(dataset: Dataset, keyword: str, stated: Any) -> _Copy:
    new = repaired(dataset, keyword)
    if new.value is None:
        return _Copy(stated, None, new.changed)
    element = DataElement(keyword, new.vr, new.value)
    if keyword == "ImageOrientationPatient" and element.VM == COSINES:
        return _straightened(stated, element, new.changed)
    return _Copy(stated, element, new.changed)


def _straightened(stated: Any, element: DataElement, changed: tuple[str, ...]) -> _Copy:
    """Direction cosines that a scanner rounded, made of unit length and square again."""
    straight, name = unit_cosines(element.value), (element.keyword,)
    if not np.isfinite(straight).all():
        return _Copy(stated, None, name)
    moved = abs(straight - [float(value) for value in element.value]).max() > NOTICEABLE
    facing = DataElement(element.tag, "DS", [decimal(value) for value in straight])
    return _Copy(stated, facing, name if moved else changed)

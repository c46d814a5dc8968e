"""Headers of the source images, repaired: what every output may copy without harm.

A source may lack type 2 attributes, hold values that its value representation forbids, or speak
any of DICOM's character sets. The repaired header is a copy in UTF-8 that holds only what outputs
need; what was changed is named by its keyword, never by its value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from reports.attributes import EQUIPMENT, IMAGE, PATIENT, REQUIRED, STUDY
from reports.planes import NOTICEABLE, decimal, unit_cosines
from reports.repair import repaired

UTF8 = "ISO_IR 192"
COSINES = 6
"""Values of Image Orientation (Patient)."""


@dataclass(frozen=True)
class Sources:
    """Repaired headers of the source images."""

    headers: tuple[Dataset, ...]
    """One for each instance, in the order of the analysis."""
    repairs: tuple[str, ...]
    """Keywords of the attributes that had to be changed or left out."""

    @property
    def first(self) -> Dataset:
        """The header that patient and study attributes are copied from."""
        return self.headers[0]


def repaired_sources(datasets: Sequence[Dataset]) -> Sources:
    """Repair headers; patient and study are taken from the first, for they are one study's.

    Raises nothing for bad values; ``IndexError`` without any data set.
    """
    notes: list[str] = []
    shared = _copied(datasets[0], (*PATIENT, *STUDY, *EQUIPMENT), notes)
    for keyword in REQUIRED:
        if keyword not in shared:
            setattr(shared, keyword, None)
    headers = tuple(_header(dataset, shared, notes) for dataset in datasets)
    return Sources(headers, tuple(dict.fromkeys(notes)))


def _header(dataset: Dataset, shared: Dataset, notes: list[str]) -> Dataset:
    header = Dataset()
    header.update(shared)
    header.update(_copied(dataset, IMAGE, notes))
    _straighten(header, notes)
    header.SpecificCharacterSet = UTF8
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def _straighten(header: Dataset, notes: list[str]) -> None:
    """Direction cosines that a scanner rounded, made of unit length and square again."""
    stated = header.get("ImageOrientationPatient")
    if not stated or len(stated) != COSINES:
        return
    straight = unit_cosines(stated)
    if not np.isfinite(straight).all():
        del header.ImageOrientationPatient
        notes.append("ImageOrientationPatient")
        return
    if abs(straight - [float(value) for value in stated]).max() > NOTICEABLE:
        notes.append("ImageOrientationPatient")
    header.ImageOrientationPatient = [decimal(value) for value in straight]


def _copied(dataset: Dataset, keywords: Iterable[str], notes: list[str]) -> Dataset:
    copy = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            element = repaired(dataset, keyword)
            if element.note:
                notes.append(keyword)
            if element.value is not None:
                copy.add(DataElement(keyword, element.vr, element.value))
    return copy

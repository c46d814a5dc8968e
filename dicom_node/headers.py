"""Reads the headers of a stored study: what routing may ask for and what the pages show."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import UID

from dicom_node.domain.study import AttributeValue, Instance, Series, Study
from dicom_node.store import InstanceStore

SHOWN = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
)
"""Of the study, for the pages."""
ROUTED = (
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
    "ProtocolName",
    "ImageType",
    "Manufacturer",
    "Rows",
    "Columns",
)
"""Of a series, for routing; a manifest's rules may ask for more."""
GEOMETRY = (
    "NumberOfFrames",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
)
NAMED_PLANE = 0.9
"""A plane is AXIAL, CORONAL or SAGITTAL when its normal is within about 25 degrees of the axis."""
PLANES = ("SAGITTAL", "CORONAL", "AXIAL")
LONGEST_TEXT, MOST_VALUES = 256, 64


def read_study(
    study_instance_uid: str,
    instances: Sequence[Instance],
    store: InstanceStore,
    keywords: Collection[str] = (),
) -> Study:
    """Read each instance up to its pixel data.

    ``keywords`` are read beside the usual ones. An instance that cannot be read is counted in its
    series' ``unreadable``. Patients that contradict each other appear in the study's attribute
    ``Patients`` as their number.
    """
    wanted = [*SHOWN, *ROUTED, *GEOMETRY, *keywords]
    ordered = sorted(instances, key=lambda i: (i.series_instance_uid, i.sop_instance_uid))
    headers: list[Dataset] = []
    contents = []
    for uid, group in groupby(ordered, key=lambda i: i.series_instance_uid):
        members = tuple(group)
        read = [header for i in members if (header := _read(i, store, wanted)) is not None]
        contents.append(_series(uid, members, read, [*ROUTED, *keywords]))
        headers += read
    return Study(study_instance_uid, tuple(contents), _study_attributes(headers))


def _read(instance: Instance, store: InstanceStore, wanted: list[str]) -> Dataset | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = dcmread(
                store.path(instance.sha256),
                stop_before_pixels=True,
                specific_tags=["SpecificCharacterSet", *wanted],
            )
            header.decode()
        except (
            InvalidDicomError,
            OSError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            NotImplementedError,
            RecursionError,
            OverflowError,
            LookupError,
        ):
            return None
        return header


def _series(
    uid: str, members: tuple[Instance, ...], headers: list[Dataset], keywords: list[str]
) -> Series:
    attributes: dict[str, AttributeValue] = {}
    if headers:
        attributes = {key: value_of(headers[0], key) for key in keywords}
    attributes["SOPClassUID"] = UID(members[0].sop_class_uid).keyword or members[0].sop_class_uid
    attributes["Frames"] = sum(_frames(header) for header in headers)
    attributes["Orientation"] = _orientation(headers)
    return Series(uid, members, attributes, unreadable=len(members) - len(headers))


def _study_attributes(headers: list[Dataset]) -> dict[str, AttributeValue]:
    if not headers:
        return {}
    attributes: dict[str, AttributeValue] = {key: value_of(headers[0], key) for key in SHOWN}
    modalities = {str(value_of(header, "Modality") or "") for header in headers} - {""}
    patients = {
        (value_of(header, "PatientID"), value_of(header, "IssuerOfPatientID")) for header in headers
    }
    attributes["ModalitiesInStudy"] = sorted(modalities)
    attributes["Patients"] = len(patients)
    return attributes


def value_of(header: Dataset, keyword: str) -> AttributeValue:
    """A header value as a JSON scalar or a list of them; none if absent, empty or unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = header.get(keyword)
            return _plain(value)
        except (ValueError, TypeError, OverflowError, ArithmeticError, AttributeError):
            return None


def _plain(value: Any) -> AttributeValue:
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue | list | tuple):
        return [_scalar(v) for v in value[:MOST_VALUES]]
    scalar: AttributeValue = _scalar(value)
    return scalar


def _scalar(value: Any) -> Any:
    if isinstance(value, int | float):
        number = float(value)
        return int(number) if number.is_integer() else number
    return str(value)[:LONGEST_TEXT]


def _frames(header: Dataset) -> int:
    frames = value_of(header, "NumberOfFrames")
    return frames if isinstance(frames, int) and frames > 0 else 1


def _orientation(headers: Iterable[Dataset]) -> str | None:
    planes = Counter(plane for header in headers if (plane := _plane(header)))
    if not planes:
        return None
    return next(iter(planes)) if len(planes) == 1 else "MIXED"


def _plane(header: Dataset) -> str | None:
    cosines = value_of(_plane_orientation(header), "ImageOrientationPatient")
    if not isinstance(cosines, list) or len(cosines) != 6:
        return None
    try:
        row, column = np.asarray(cosines, dtype=float).reshape(2, 3)
    except ValueError:
        return None
    normal = np.abs(np.cross(row, column))
    axis = int(normal.argmax())
    return PLANES[axis] if normal[axis] >= NAMED_PLANE else "OBLIQUE"


def _plane_orientation(header: Dataset) -> Dataset:
    """The data set that holds the orientation: an enhanced image keeps it in a functional group."""
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    nested = shared[0].get("PlaneOrientationSequence")
    return nested[0] if nested else header

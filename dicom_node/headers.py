"""The headers of a stored study: what routing may ask for and what the pages show."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
from pydicom.uid import UID

from dicom_node.domain.study import AttributeValue, Instance, Series, Study
from dicom_node.observe import log
from dicom_node.sandbox import ChildDied, Sandbox
from dicom_node.store import InstanceStore, StoredFile

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
NAMED_PLANE = 0.9
"""A plane is AXIAL, CORONAL or SAGITTAL when its normal is within about 25 degrees of the axis."""
PLANES = ("SAGITTAL", "CORONAL", "AXIAL")
READER_MEMORY_MIB, READER_TIMEOUT_S, MOST_DEATHS = 1024, 10.0, 3
Header = Mapping[str, AttributeValue]


class HeaderReader(Protocol):
    """Reads one file's header."""

    def read(self, file: StoredFile, keywords: Sequence[str]) -> Header | None:
        """Values by keyword; none if the header cannot be read."""


class GuardedReader:
    """Reads in a child that may die of what it reads; gives a study up after three deaths."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(
            "dicom_node.header_reader", memory_mib=READER_MEMORY_MIB, timeout_s=READER_TIMEOUT_S
        )
        self._deaths = 0

    def read(self, file: StoredFile, keywords: Sequence[str]) -> Header | None:
        """See ``HeaderReader``."""
        if self._deaths >= MOST_DEATHS:
            return None
        try:
            header: Header | None = self._sandbox.ask(
                {
                    "path": str(file.path),
                    "offset": file.offset,
                    "size": file.size,
                    "keywords": list(keywords),
                }
            )
        except ChildDied as died:
            self._deaths += 1
            log("sweep").warning("header.unreadable", reason=died.code)
            return None
        return header

    def next_study(self) -> None:
        """Count deaths anew."""
        self._deaths = 0

    def close(self) -> None:
        """End the child."""
        self._sandbox.close()


class DirectReader:
    """Reads in this process: for files that the user of a command line names."""

    def read(self, file: StoredFile, keywords: Sequence[str]) -> Header | None:
        """See ``HeaderReader``."""
        from dicom_node.header_reader import read_header

        return read_header(file, keywords)


def read_study(
    study_instance_uid: str,
    instances: Sequence[Instance],
    store: InstanceStore,
    reader: HeaderReader,
    keywords: Collection[str] = (),
) -> Study:
    """Read each instance up to its pixel data.

    ``keywords`` are read beside the usual ones. An instance that cannot be read is counted in its
    series' ``unreadable``. Patients that contradict each other appear in the study's attribute
    ``Patients`` as their number, what is odd and harmless in ``Notes`` as reason codes. Each file
    is hashed first, all of it: one that is not as it was kept is not read, and counted in
    ``Altered``, too.
    """
    wanted = [*SHOWN, *ROUTED, *keywords]
    ordered = sorted(instances, key=lambda i: (i.series_instance_uid, i.sop_instance_uid))
    headers: list[Header] = []
    contents, altered = [], 0
    for uid, group in groupby(ordered, key=lambda i: i.series_instance_uid):
        members = tuple(group)
        sound = [file for file in map(store.file, members) if file.is_as_expected]
        altered += len(members) - len(sound)
        found = (reader.read(file, wanted) for file in sound)
        read = [header for header in found if header is not None]
        contents.append(_series(uid, members, read, [*ROUTED, *keywords]))
        headers += read
    attributes = _study_attributes(headers) | ({"Altered": altered} if altered else {})
    return Study(study_instance_uid, tuple(contents), attributes)


def _series(
    uid: str, members: tuple[Instance, ...], headers: list[Header], keywords: list[str]
) -> Series:
    attributes: dict[str, AttributeValue] = {}
    if headers:
        attributes = {key: headers[0].get(key) for key in keywords}
    attributes["SOPClassUID"] = UID(members[0].sop_class_uid).keyword or members[0].sop_class_uid
    attributes["Frames"] = sum(_frames(header) for header in headers)
    attributes["Orientation"] = _orientation(headers)
    return Series(uid, members, attributes, unreadable=len(members) - len(headers))


def _study_attributes(headers: list[Header]) -> dict[str, AttributeValue]:
    if not headers:
        return {}
    attributes: dict[str, AttributeValue] = {key: headers[0].get(key) for key in SHOWN}
    modalities = {str(header.get("Modality") or "") for header in headers} - {""}
    patients = {(str(h.get("PatientID")), str(h.get("IssuerOfPatientID"))) for h in headers}
    attributes["ModalitiesInStudy"] = sorted(modalities)
    attributes["Patients"] = len(patients)
    attributes["Notes"] = sorted({str(code) for h in headers for code in _listed(h.get("Notes"))})
    return attributes


def _listed(value: AttributeValue) -> Sequence[str | float]:
    return value if isinstance(value, list) else ()


def _frames(header: Header) -> int:
    frames = header.get("NumberOfFrames")
    return frames if isinstance(frames, int) and frames > 0 else 1


def _orientation(headers: Iterable[Header]) -> str | None:
    planes = Counter(plane for header in headers if (plane := _plane(header)))
    if not planes:
        return None
    return next(iter(planes)) if len(planes) == 1 else "MIXED"


def _plane(header: Header) -> str | None:
    cosines = header.get("ImageOrientationPatient")
    if not isinstance(cosines, list) or len(cosines) != 6:
        return None
    try:
        row, column = np.asarray(cosines, dtype=float).reshape(2, 3)
    except (ValueError, TypeError):
        return None
    normal = np.abs(np.cross(row, column))
    axis = int(normal.argmax())
    return PLANES[axis] if normal[axis] >= NAMED_PLANE else "OBLIQUE"

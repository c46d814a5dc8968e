"""All judges of a case: what others' programs say of its objects, and what they read in them."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import said
import second_readers as readers
import validators
from orthanc import Orthanc
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind
from dicom_node.send.cstore import send
from reports.segmentation import LABEL_MAP_STORAGE

JUDGES = (
    "dciodvfy", "dcentvfy", "highdicom", "dcmjs", "DCMTK", "Orthanc C-STORE", "Orthanc DICOMweb",
    "PDF and page", "DicomSRValidator",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is judged: an analysis, and what was made of it."""

    given: Analysis | None
    """None: no model was asked."""
    sources: Sequence[Path]
    paths: dict[ResultKind, list[Path]]
    """Of each kind."""
    answer: bool = False
    """Whether there is no result, but an SR in place of it."""

    @property
    def everything(self) -> list[Path]:
        """All objects."""
        return [path for found in self.paths.values() for path in found]

    @property
    def reports(self) -> list[Path]:
        """The SR in each of its forms."""
        return [path for form in REPORT_FORMS for path in self.paths[form]]

    @property
    def documents(self) -> list[Path]:
        """What has a content tree."""
        notes = (ResultKind.KEY_OBJECTS, ResultKind.REJECTION_NOTE)
        return [*self.reports, *(path for kind in notes for path in self.paths[kind])]

    @property
    def segmentation(self) -> Path | None:
        """There is one, or none."""
        return next(iter(self.paths[ResultKind.SEGMENTATION]), None)

    @cached_property
    def label_map(self) -> bool:
        """Whether it is one that programs of 2022 do not know."""
        seg = self.segmentation
        return seg is not None and _class_of(seg) == LABEL_MAP_STORAGE


def judge(case: Case, pacs: Orthanc, tool: validators.Tool) -> Iterator[str]:
    """Each of ``JUDGES`` that found nothing wrong."""
    tool("dciodvfy"), tool("javac")
    with ThreadPoolExecutor(1) as pool:  # beside the others, for it takes as long as all of them
        verdicts = pool.map(validators.sr_validator, case.documents)
        yield from _quick(case, pacs, tool)
        assert [error for verdict in verdicts for error in verdict] == []
        yield "DicomSRValidator"


def _quick(case: Case, pacs: Orthanc, tool: validators.Tool) -> Iterator[str]:
    known = validators.LABEL_MAP_FALSE_ALARMS if case.label_map else ()
    errors = {path.name: validators.dciodvfy(path, known) for path in case.everything}
    assert {name: found for name, found in errors.items() if found} == {}
    yield "dciodvfy"
    assert validators.dcentvfy([*case.sources, *case.everything]) == []
    yield "dcentvfy"
    _assert_read_by_highdicom(case)
    yield "highdicom"
    _assert_read_by_dcmjs(case, tool)
    yield "dcmjs"
    _assert_read_by_dcmtk(case, tool)
    yield "DCMTK"
    list(send(pacs.peer, case.everything))
    for path in case.everything:
        assert _stored(pacs, path) == _data_of(path)
    yield "Orthanc C-STORE"
    for path in case.everything:
        assert _retrieved(pacs, path) == _data_of(path)
    yield "Orthanc DICOMweb"
    for path in case.paths[ResultKind.ENCAPSULATED_PDF]:
        assert validators.encapsulated_pdf(path) == []
    yield "PDF and page"


def words(path: Path) -> str:
    """All that an answer says, as an SR or as a page."""
    data = dcmread(path)
    return validators.page_inside(path) if "EncapsulatedDocument" in data else data.to_json()


def _class_of(path: Path) -> str:
    return str(read_file_meta_info(path).MediaStorageSOPClassUID)


def _said(case: Case) -> list[said.Said]:
    if case.given is None:
        return []
    return said.of_no_result(case.given) if case.answer else said.of_analysis(case.given)


def _assert_read_by_highdicom(case: Case) -> None:
    for path in case.paths[ResultKind.SEGMENTATION]:
        assert readers.masks_of_highdicom(path) == readers.masks_of(case.given, path)
    for path in case.reports:
        assert said.by_highdicom(path, case.segmentation) == _said(case)


def _assert_read_by_dcmjs(case: Case, tool: validators.Tool) -> None:
    segmentations = case.paths[ResultKind.SEGMENTATION]
    for path, found in zip(segmentations, readers.dcmjs(segmentations, tool), strict=True):
        assert readers.masks_of_dcmjs(found) == readers.masks_of(case.given, path)
    for path, found in zip(case.reports, readers.dcmjs(case.reports, tool), strict=True):
        assert readers.same(readers.tree(path), found)
        assert said.by_dcmjs(found, case.segmentation) == _said(case)


def _assert_read_by_dcmtk(case: Case, tool: validators.Tool) -> None:
    command = [tool("dcmdump"), "-q", *map(str, case.everything)]
    assert subprocess.run(command, check=True, capture_output=True).stdout
    options = [validators.LABEL_MAP_UNKNOWN] if case.label_map else []
    for path in case.documents:
        assert "CONTAINER" in validators.dsrdump(path, options=options)


def _data_of(path: Path) -> bytes:
    """The data set without the file meta group, which every archive writes anew."""
    return _without_meta(path.read_bytes())


def _without_meta(file: bytes) -> bytes:
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def _stored(pacs: Orthanc, path: Path) -> bytes:
    uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    found = pacs.http.post("/tools/lookup", content=uid).raise_for_status().json()
    return _without_meta(pacs.file(found[0]["ID"]))


def _retrieved(pacs: Orthanc, path: Path) -> bytes:
    """WADO-RS: one part, in the transfer syntax in which it is stored."""
    header = dcmread(path, stop_before_pixels=True)
    url = (
        f"/dicom-web/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
        f"/instances/{header.SOPInstanceUID}"
    )
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    answer = pacs.http.get(url, headers={"Accept": accept}).raise_for_status()
    boundary = re.search(r"boundary=\"?([^\";]+)", answer.headers["Content-Type"])
    assert boundary
    _, part = answer.content.split(b"\r\n\r\n", 1)
    return _without_meta(part.rsplit(b"\r\n--" + boundary[1].encode(), 1)[0])

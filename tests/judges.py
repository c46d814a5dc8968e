"""All judges of a case: what others' programs say of its objects, and what they read in them."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
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
    "DicomSRValidator",
)  # fmt: skip


def judge(
    given: Analysis,
    paths: dict[ResultKind, list[Path]],
    folder: Path,
    pacs: Orthanc,
    tool: validators.Tool,
    form: ResultKind = ResultKind.STRUCTURED_REPORT,
) -> Iterator[str]:
    """Each of ``JUDGES`` that found nothing wrong; ``form`` of the SR goes before the slowest."""
    reports = paths[form]
    tool("dciodvfy"), tool("java")
    with ThreadPoolExecutor(1) as pool:  # a Java machine takes longer to start than all others
        verdicts = pool.map(validators.sr_validator, reports)
        yield from _quick(given, paths, folder, pacs, tool)
        assert [error for verdict in verdicts for error in verdict] == []
        yield "DicomSRValidator"


def _quick(
    given: Analysis,
    paths: dict[ResultKind, list[Path]],
    folder: Path,
    pacs: Orthanc,
    tool: validators.Tool,
) -> Iterator[str]:
    everything = [path for found in paths.values() for path in found]
    reports = _reports_in(paths)
    known = validators.LABEL_MAP_FALSE_ALARMS if _label_map_in(paths) else ()
    errors = {path.name: validators.dciodvfy(path, known) for path in everything}
    assert errors == {path.name: [] for path in everything}
    yield "dciodvfy"
    assert validators.dcentvfy([*sorted((folder / "source").iterdir()), *everything]) == []
    yield "dcentvfy"
    _assert_read_by_highdicom(given, paths)
    yield "highdicom"
    _assert_read_by_dcmjs(given, paths, tool)
    yield "dcmjs"
    options = [validators.LABEL_MAP_UNKNOWN] if _label_map_in(paths) else []
    _assert_read_by_dcmtk(everything, [*reports, *paths[ResultKind.KEY_OBJECTS]], tool, options)
    yield "DCMTK"
    list(send(pacs.peer, everything))
    for path in everything:
        assert _stored(pacs, path) == _data_of(path)
    yield "Orthanc C-STORE"
    for path in everything:
        assert _retrieved(pacs, path) == _data_of(path)
    yield "Orthanc DICOMweb"


def _reports_in(paths: dict[ResultKind, list[Path]]) -> list[Path]:
    return [path for form in REPORT_FORMS for path in paths[form]]


def _label_map_in(paths: dict[ResultKind, list[Path]]) -> bool:
    found = (read_file_meta_info(path) for path in paths[ResultKind.SEGMENTATION])
    return any(meta.MediaStorageSOPClassUID == LABEL_MAP_STORAGE for meta in found)


def _assert_read_by_highdicom(given: Analysis, paths: dict[ResultKind, list[Path]]) -> None:
    for path in paths[ResultKind.SEGMENTATION]:
        assert readers.masks_of_highdicom(path) == readers.masks_of(given, path)
    for path in _reports_in(paths):
        read = dict(readers.measurements(path))
        if not paths[ResultKind.ENCAPSULATED_PDF]:  # an answer in place of a result
            assert not any(read.values())
            continue
        assert read.keys() == {finding.tracking_uid for finding in given.findings}
        for finding in given.findings:
            numbers = {m.name.value: m.value for m in finding.measurements}
            probability = {"122157": round(100 * finding.probability, 1)}
            assert read[finding.tracking_uid] == pytest.approx(numbers | probability)


def _assert_read_by_dcmjs(
    given: Analysis, paths: dict[ResultKind, list[Path]], tool: validators.Tool
) -> None:
    segmentations = paths[ResultKind.SEGMENTATION]
    reports = _reports_in(paths)
    read = readers.dcmjs([*segmentations, *reports], tool)
    for path, found in zip(segmentations, read, strict=False):
        assert readers.masks_of_dcmjs(found) == readers.masks_of(given, path)
    for path, found in zip(reports, read[len(segmentations) :], strict=True):
        assert readers.same(readers.tree(path), found)


def _assert_read_by_dcmtk(
    everything: Sequence[Path],
    documents: Sequence[Path],
    tool: validators.Tool,
    options: Sequence[str],
) -> None:
    for path in everything:
        command = [tool("dcmdump"), "-q", str(path)]
        assert subprocess.run(command, check=True, capture_output=True).stdout
    for path in documents:
        assert "CONTAINER" in validators.dsrdump(path, *options)


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

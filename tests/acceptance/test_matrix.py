"""Every bundle × source × finding state: all objects, before every judge; the table is matrix.md.

A perfect model stands in for the network, so that every voxel and number has a known truth; its
manifest is the bundle's own. Images go through files and the worker's reader.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest
import second_readers as readers
import sources
import validators
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.analysis import Analysis, Presence
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.manifest import ModelManifest
from dicom_node.send.cstore import send
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.writer import WRITERS, write_results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.orthanc,
    pytest.mark.dcmtk,
    pytest.mark.validators,
    pytest.mark.timeout(300),
]
TABLE = Path(__file__).parent.parent.parent / "matrix.md"
BUNDLES = {path.name: open_bundle(path).manifest for path in shipped_bundles()}
JUDGES = (
    "dciodvfy", "dcentvfy", "highdicom", "dcmjs", "DCMTK", "Orthanc C-STORE", "Orthanc DICOMweb",
    "DicomSRValidator",
)  # fmt: skip
PROJECTIONS = {"US cine", "CR", "DX", "MG"}


@dataclass
class Table:
    """One line for each case that was judged."""

    lines: list[str] = field(default_factory=list)

    def add(self, case: Sequence[str], objects: str, judged: Sequence[str]) -> None:
        passed = ("yes" if judge in judged else "no" for judge in JUDGES)
        self.lines.append(" | ".join((*case, objects, *passed)))

    def write(self) -> None:
        head = ("bundle", "source", "state", "objects", *JUDGES)
        rule = ["---"] * len(head)
        rows = [" | ".join(head), " | ".join(rule), *sorted(self.lines)]
        TABLE.write_text("".join(f"| {row} |\n" for row in rows))


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    made.write()


@pytest.fixture(scope="module")
def pacs(tool: validators.Tool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tool("Orthanc"), tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.mark.parametrize("state", list(Presence))
@pytest.mark.parametrize("source", sources.KINDS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_object_passes_every_judge(
    bundle: str,
    source: str,
    state: Presence,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    given = analysis_of(source, state, BUNDLES[bundle], tmp_path / "source")
    paths = written(given, tmp_path / "results")
    judged: list[str] = []
    try:
        judged.extend(judges(given, paths, tmp_path, pacs, tool))
    finally:
        objects = ", ".join(f"{len(found)} {kind.label}" for kind, found in paths.items() if found)
        table.add((bundle, source, state.lower()), objects, judged)
    assert tuple(judged) == JUDGES
    assert {kind for kind, found in paths.items() if found} == expected(source, state)


def analysis_of(source: str, state: Presence, model: ModelManifest, folder: Path) -> Analysis:
    body = sources.body(lesions=0 if state is Presence.ABSENT else 2)
    given = sources.in_state(sources.KINDS[source](body).analysis(folder, model), state)
    case = sha256(f"{model.id} {source} {state}".encode()).hexdigest()
    return replace(given, provenance=replace(given.provenance, input_sha256=case))


def written(given: Analysis, folder: Path) -> dict[ResultKind, list[Path]]:
    """The files of each kind."""
    folder.mkdir()
    paths: dict[ResultKind, list[Path]] = {kind: [] for kind in ResultKind}
    for number, result in enumerate(write_results(Case(given), WRITERS)):
        path = folder / f"{number:02d}.dcm"
        path.write_bytes(dataset_bytes(result.dataset))
        paths[result.kind].append(path)
    return paths


def expected(source: str, state: Presence) -> set[ResultKind]:
    """What a case must yield: no data map without geometry, no outline or key image of nothing."""
    kinds = set(ResultKind) - {ResultKind.REJECTION_NOTE, ResultKind.DERIVED_IMAGE}
    if source in PROJECTIONS:
        kinds -= {ResultKind.PARAMETRIC_MAP, ResultKind.COLOR_PRESENTATION_STATE}
    if state is not Presence.PRESENT:
        kinds -= {ResultKind.SEGMENTATION, ResultKind.PRESENTATION_STATE}
    if state is Presence.ABSENT:
        kinds -= {ResultKind.KEY_OBJECTS}
    return kinds


def judges(
    given: Analysis,
    paths: dict[ResultKind, list[Path]],
    folder: Path,
    pacs: Orthanc,
    tool: validators.Tool,
) -> Iterator[str]:
    """Each judge after it found nothing wrong."""
    reports = paths[ResultKind.STRUCTURED_REPORT]
    tool("dciodvfy"), tool("java")
    with ThreadPoolExecutor(1) as pool:  # a Java machine takes longer to start than all others
        verdicts = pool.map(validators.sr_validator, reports)
        yield from quick_judges(given, paths, folder, pacs, tool)
        assert [error for verdict in verdicts for error in verdict] == []
        yield "DicomSRValidator"


def quick_judges(
    given: Analysis,
    paths: dict[ResultKind, list[Path]],
    folder: Path,
    pacs: Orthanc,
    tool: validators.Tool,
) -> Iterator[str]:
    everything = [path for found in paths.values() for path in found]
    reports = paths[ResultKind.STRUCTURED_REPORT] + paths[ResultKind.FLAT_REPORT]
    assert {p.name: validators.dciodvfy(p) for p in everything} == {p.name: [] for p in everything}
    yield "dciodvfy"
    assert validators.dcentvfy([*sorted((folder / "source").iterdir()), *everything]) == []
    yield "dcentvfy"
    assert_read_by_highdicom(given, paths)
    yield "highdicom"
    assert_read_by_dcmjs(given, paths, tool)
    yield "dcmjs"
    assert_read_by_dcmtk(everything, [*reports, *paths[ResultKind.KEY_OBJECTS]], tool)
    yield "DCMTK"
    list(send(pacs.peer, everything))
    for path in everything:
        assert stored(pacs, path) == data_of(path)
    yield "Orthanc C-STORE"
    for path in everything:
        assert retrieved(pacs, path) == data_of(path)
    yield "Orthanc DICOMweb"


def assert_read_by_highdicom(given: Analysis, paths: dict[ResultKind, list[Path]]) -> None:
    for path in paths[ResultKind.SEGMENTATION]:
        assert readers.masks_of_highdicom(path) == readers.masks_of(given)
    for path in paths[ResultKind.STRUCTURED_REPORT]:
        read = dict(readers.measurements(path))
        assert read.keys() == {finding.tracking_uid for finding in given.findings}
        for finding in given.findings:
            numbers = {m.name.value: m.value for m in finding.measurements}
            probability = {"122157": round(100 * finding.probability, 1)}
            assert read[finding.tracking_uid] == pytest.approx(numbers | probability)


def assert_read_by_dcmjs(
    given: Analysis, paths: dict[ResultKind, list[Path]], tool: validators.Tool
) -> None:
    segmentations = paths[ResultKind.SEGMENTATION]
    reports = paths[ResultKind.STRUCTURED_REPORT] + paths[ResultKind.FLAT_REPORT]
    read = readers.dcmjs([*segmentations, *reports], tool)
    for found in read[: len(segmentations)]:
        assert readers.masks_of_dcmjs(found) == readers.masks_of(given)
    for path, found in zip(reports, read[len(segmentations) :], strict=True):
        assert readers.same(readers.tree(path), found)


def assert_read_by_dcmtk(
    everything: Sequence[Path], documents: Sequence[Path], tool: validators.Tool
) -> None:
    for path in everything:
        command = [tool("dcmdump"), "-q", str(path)]
        assert subprocess.run(command, check=True, capture_output=True).stdout
    for path in documents:
        assert "CONTAINER" in validators.dsrdump(path)


def data_of(path: Path) -> bytes:
    """The data set without the file meta group, which every archive writes anew."""
    return without_meta(path.read_bytes())


def without_meta(file: bytes) -> bytes:
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def stored(pacs: Orthanc, path: Path) -> bytes:
    uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    found = pacs.http.post("/tools/lookup", content=uid).raise_for_status().json()
    return without_meta(pacs.file(found[0]["ID"]))


def retrieved(pacs: Orthanc, path: Path) -> bytes:
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
    return without_meta(part.rsplit(b"\r\n--" + boundary[1].encode(), 1)[0])

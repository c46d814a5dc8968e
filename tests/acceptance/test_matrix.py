"""Every bundle × source × finding state, each encoding and each answer, before every judge.

The table is matrix.md.

A perfect model stands in for the network, so that every voxel and number has a known truth; its
manifest is the bundle's own. Images go through files and the worker's reader.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import judges
import pytest
import sources
import validators
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ModelManifest
from reports.answer import Answer, answer_document
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.references import Reference
from reports.settings import ReportSettings
from reports.source import repaired_sources
from reports.subject import Maker
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
PROJECTIONS = {"US cine", "CR", "DX", "MG"}
ENCODINGS = {
    "LABELMAP, integer map": (
        ReportSettings(segmentation="LABELMAP", parametric_map="INTEGER"),
        ResultKind.ENHANCED_REPORT,
    ),
    "FRACTIONAL": (ReportSettings(segmentation="FRACTIONAL"), ResultKind.FLAT_REPORT),
}
"""Settings, and the form of the SR that DicomSRValidator reads: it takes longer than all others."""
ENCODED = ("CT", "enhanced MR", "US cine", "DX")
"""Sources of one frame and of many, that lie in the patient and that do not."""
ANSWERS = {"not eligible": "GEOMETRY", "failed": "DEVICE_MEMORY"}
FOOT = (
    "DicomSRValidator read the SR; the Enhanced SR where the SEG is a LABELMAP, the SR 2D where it "
    "is FRACTIONAL. The other judges read all objects."
)


@dataclass
class Table:
    """One line for each case that was judged."""

    lines: list[str] = field(default_factory=list)

    def add(self, case: Sequence[str], objects: str, judged: Sequence[str]) -> None:
        passed = ("yes" if judge in judged else "no" for judge in judges.JUDGES)
        self.lines.append(" | ".join((*case, objects, *passed)))

    def write(self) -> None:
        head = ("bundle", "source", "state", "objects", *judges.JUDGES)
        rule = ["---"] * len(head)
        rows = [" | ".join(head), " | ".join(rule), *sorted(self.lines)]
        TABLE.write_text("".join(f"| {row} |\n" for row in rows) + f"\n{FOOT}\n")


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
    paths = written(write_results(Case(given), WRITERS), tmp_path / "results")
    with judging(table, (bundle, source, state.lower()), paths) as judged:
        judged.extend(judges.judge(given, paths, tmp_path, pacs, tool))
    assert {kind for kind, found in paths.items() if found} == expected(source, state)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("source", ENCODED)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_encoding_passes_every_judge(
    bundle: str,
    source: str,
    encoding: str,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    settings, form = ENCODINGS[encoding]
    model = BUNDLES[bundle]
    given = analysis_of(source, Presence.PRESENT, model, tmp_path / "source", encoding)
    paths = written(write_results(Case(given, settings), WRITERS), tmp_path / "results")
    with judging(table, (bundle, source, f"present, {encoding}"), paths) as judged:
        judged.extend(judges.judge(given, paths, tmp_path, pacs, tool, form))
    (segmentation,) = (dcmread(path) for path in paths[ResultKind.SEGMENTATION])
    assert segmentation.SegmentationType == settings.segmentation
    for path in paths[ResultKind.PARAMETRIC_MAP]:
        assert ("PixelData" in dcmread(path)) == (settings.parametric_map == "INTEGER")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("source", ENCODED)
def test_every_answer_passes_every_judge(
    source: str,
    answer: str,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    """Of one bundle: an answer is of its targets and of no other part of it."""
    bundle, model = next(iter(BUNDLES.items()))
    given = analysis_of(source, Presence.ABSENT, model, tmp_path / "source", answer)
    documents = answers(given, ANSWERS[answer])
    paths = written(documents, tmp_path / "results")
    with judging(table, (bundle, source, answer), paths) as judged:
        judged.extend(judges.judge(given, paths, tmp_path, pacs, tool))
    for document in documents:
        said = document.dataset.to_json()
        assert '"Undetermined"' in said
        assert ANSWERS[answer] in said


def answers(given: Analysis, reason: str) -> list[ResultInstance]:
    """What is said in place of a result, in every form."""
    plan = given.manifest.classification
    assert plan
    answer = Answer(
        reason=reason,
        sources=repaired_sources(given.images.datasets),
        images=tuple(map(Reference.to, given.images.datasets)),
        maker=Maker.model(given.manifest, "b0" * 32),
        provenance=given.provenance,
        settings=ReportSettings(),
        model_name=given.manifest.name,
        targets=plan.targets,
        selection=given.selection,
    )
    return [answer_document(answer, form) for form in REPORT_FORMS]


@contextmanager
def judging(
    table: Table, case: Sequence[str], paths: dict[ResultKind, list[Path]]
) -> Iterator[list[str]]:
    """A line of the table, whatever the judges say."""
    judged: list[str] = []
    try:
        yield judged
    finally:
        objects = ", ".join(f"{len(found)} {kind.label}" for kind, found in paths.items() if found)
        table.add(case, objects, judged)
    assert tuple(judged) == judges.JUDGES


def analysis_of(
    source: str, state: Presence, model: ModelManifest, folder: Path, variant: str = ""
) -> Analysis:
    body = sources.body(lesions=0 if state is Presence.ABSENT else 2)
    given = sources.in_state(sources.KINDS[source](body).analysis(folder, model), state)
    case = sha256(f"{model.id} {source} {state} {variant}".encode()).hexdigest()
    return replace(given, provenance=replace(given.provenance, input_sha256=case))


def written(results: Sequence[ResultInstance], folder: Path) -> dict[ResultKind, list[Path]]:
    """The files of each kind."""
    folder.mkdir()
    paths: dict[ResultKind, list[Path]] = {kind: [] for kind in ResultKind}
    for number, result in enumerate(results):
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

"""Every bundle × source × finding state, each encoding and each answer, before every judge.

The table is matrix.md.

A perfect model stands in for the network, so that every voxel and number has a known truth; its
manifest is the bundle's own. Images go through files and the worker's reader.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from pathlib import Path

import judges
import perfect
import pytest
import sources
import validators
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage
from task_results import BUNDLES as TASKS

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Image
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
SHIPPED = {path.name: open_bundle(path).manifest for path in shipped_bundles()}
BUNDLES = SHIPPED | {path.name: open_bundle(path).manifest for path in sorted(TASKS.iterdir())}
FLAT = {"NM", "US", "US cine", "XA", "CR", "DX", "MG"}
"""Sources that lie nowhere in the patient."""
TASK_SOURCES = ("CT", "enhanced MR", "MG")
"""Of the small bundles, which differ in what they answer; slices, frames, images of no volume."""
ENCODINGS = {
    "LABELMAP, integer map": ReportSettings(segmentation="LABELMAP", parametric_map="INTEGER"),
    "FRACTIONAL": ReportSettings(segmentation="FRACTIONAL"),
}
ENCODED = ("CT", "legacy MR", "enhanced MR", "US cine", "DX")
"""Sources of one frame and of many, that lie in the patient and that do not."""
MANY = 8
"""Lesions, whose key slices become the pages of one capture."""
ANSWERS = {"not eligible": "GEOMETRY", "failed": "DEVICE_MEMORY"}


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


def makes_images(model: ModelManifest) -> bool:
    return any(isinstance(output, Image) for output in model.outputs)


def cases() -> Iterator[tuple[str, str, Presence]]:
    """A model without targets says yes or no to nothing; a derived image is one of a CT slice."""
    for bundle, model in BUNDLES.items():
        small = ("CT",) if makes_images(model) else TASK_SOURCES
        for source in sources.KINDS if bundle in SHIPPED else small:
            for state in Presence if model.targets else (Presence.PRESENT, Presence.ABSENT):
                yield bundle, source, state


@pytest.mark.parametrize(("bundle", "source", "state"), list(cases()))
def test_every_object_passes_every_judge(
    bundle: str,
    source: str,
    state: Presence,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    model = BUNDLES[bundle]
    given = analysis_of(source, state, model, tmp_path / "source")
    case = judged(given, write_results(Case(given), WRITERS), tmp_path)
    with judging(table, (bundle, source, state.lower()), case) as passed:
        passed.extend(judges.judge(case, pacs, tool))
    assert {kind for kind, found in case.paths.items() if found} == expected(model, source, state)
    if state is Presence.ABSENT:
        assert [f.label for f in given.findings] == [target.label for target in model.targets]


def drawn(model: ModelManifest, state: Presence) -> bool:
    """Whether there is a segment: of what is there, or of what it lies in."""
    located = {target.located_by for target in model.targets}
    segments = model.segmentation.segments if model.segmentation else ()
    around = any(segment.label not in located for segment in segments)
    return bool(segments) and (state is Presence.PRESENT or bool(located and around))


def outlines_alone(model: ModelManifest) -> bool:
    """Whether its answers are segments: what is not there is missing, and nothing is explained."""
    return [output.kind for output in model.outputs] == ["segmentation"]


def boxed(model: ModelManifest) -> bool:
    """Whether it answers in boxes."""
    return any(plan.kind == "detection" for plan in model.outputs)


def encoded() -> Iterator[tuple[str, str, Presence]]:
    """Whatever is drawn; of nothing but the body on one source."""
    for bundle, model in SHIPPED.items():
        for source, state in product(ENCODED, Presence):
            if state is Presence.PRESENT or (source == "CT" and drawn(model, state)):
                yield bundle, source, state


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("bundle", "source", "state"), list(encoded()))
def test_every_encoding_passes_every_judge(
    bundle: str,
    source: str,
    state: Presence,
    encoding: str,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    settings = ENCODINGS[encoding]
    given = analysis_of(source, state, SHIPPED[bundle], tmp_path / "source", encoding)
    case = judged(given, write_results(Case(given, settings), WRITERS), tmp_path)
    with judging(table, (bundle, source, f"{state.lower()}, {encoding}"), case) as passed:
        passed.extend(judges.judge(case, pacs, tool))
    (segmentation,) = (dcmread(path) for path in case.paths[ResultKind.SEGMENTATION])
    assert segmentation.SegmentationType == settings.segmentation
    for path in case.paths[ResultKind.PARAMETRIC_MAP]:
        assert ("PixelData" in dcmread(path)) == (settings.parametric_map == "INTEGER")


@pytest.mark.parametrize("source", ["CT", "enhanced MR"])
@pytest.mark.parametrize("bundle", SHIPPED)
def test_many_lesions_pass_every_judge(
    bundle: str,
    source: str,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    given = analysis_of(
        source, Presence.PRESENT, SHIPPED[bundle], tmp_path / "source", "many", MANY
    )
    case = judged(given, write_results(Case(given), WRITERS), tmp_path)
    with judging(table, (bundle, source, f"present, {MANY} lesions"), case) as passed:
        passed.extend(judges.judge(case, pacs, tool))
    (capture,) = (dcmread(path) for path in case.paths[ResultKind.SECONDARY_CAPTURE])
    assert capture.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert capture.NumberOfFrames > 4


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("source", ENCODED)
@pytest.mark.parametrize("bundle", SHIPPED)
def test_every_answer_passes_every_judge(
    bundle: str,
    source: str,
    answer: str,
    table: Table,
    pacs: Orthanc,
    tool: validators.Tool,
    tmp_path: Path,
) -> None:
    given = analysis_of(source, Presence.ABSENT, SHIPPED[bundle], tmp_path / "source", answer)
    documents = answers(given, ANSWERS[answer])
    case = judged(given, documents, tmp_path, answer=True)
    with judging(table, (bundle, source, answer), case) as passed:
        passed.extend(judges.judge(case, pacs, tool))
    for document in documents:
        assert ANSWERS[answer] in document.dataset.to_json()


def answers(given: Analysis, reason: str) -> list[ResultInstance]:
    """What is said in place of a result, in every form."""
    answer = Answer(
        reason=reason,
        sources=repaired_sources(given.images.datasets),
        images=tuple(map(Reference.to, given.images.datasets)),
        maker=Maker.model(given.manifest, "b0" * 32),
        provenance=given.provenance,
        settings=ReportSettings(),
        model_name=given.manifest.name,
        targets=given.manifest.targets,
        selection=given.selection,
    )
    return [answer_document(answer, form) for form in REPORT_FORMS]


@contextmanager
def judging(table: Table, row: Sequence[str], case: judges.Case) -> Iterator[list[str]]:
    """A line of the table, whatever the judges say."""
    passed: list[str] = []
    try:
        yield passed
    finally:
        found = case.paths.items()
        objects = ", ".join(f"{len(paths)} {kind.label}" for kind, paths in found if paths)
        table.add(row, objects, passed)
    assert tuple(passed) == judges.JUDGES


def analysis_of(
    source: str,
    state: Presence,
    model: ModelManifest,
    folder: Path,
    variant: str = "",
    lesions: int = 2,
) -> Analysis:
    body = sources.body(lesions=0 if state is Presence.ABSENT else lesions)
    case = sha256(f"{model.id} {source} {state} {variant}".encode()).hexdigest()
    truth = sources.KINDS[source](body).truth(folder, model)
    return perfect.analysis(truth, state, case)


def judged(
    given: Analysis, results: Sequence[ResultInstance], folder: Path, *, answer: bool = False
) -> judges.Case:
    """The files of each kind."""
    paths: dict[ResultKind, list[Path]] = {kind: [] for kind in ResultKind}
    for number, result in enumerate(results):
        path = folder / f"{number:02d}.dcm"
        path.write_bytes(dataset_bytes(result.dataset))
        paths[result.kind].append(path)
    return judges.Case(given, sorted((folder / "source").iterdir()), paths, answer)


def expected(model: ModelManifest, source: str, state: Presence) -> set[ResultKind]:
    """What a case must yield: no data map without geometry, no outline or key image of nothing."""
    kinds = set(ResultKind) - {ResultKind.REJECTION_NOTE}
    if not makes_images(model):
        kinds -= {ResultKind.DERIVED_IMAGE}
    mapped = model.explained is not None and model.explanation.method != "shapley"
    missing = state is Presence.ABSENT and outlines_alone(model)
    if source in FLAT or not mapped or missing:
        kinds -= {ResultKind.PARAMETRIC_MAP, ResultKind.COLOR_PRESENTATION_STATE}
    if not drawn(model, state):
        kinds -= {ResultKind.SEGMENTATION}
    if not (drawn(model, state) or (boxed(model) and state is Presence.PRESENT)):
        kinds -= {ResultKind.PRESENTATION_STATE}
    if missing or (state is Presence.ABSENT and model.targets):
        kinds -= {ResultKind.KEY_OBJECTS}
    return kinds

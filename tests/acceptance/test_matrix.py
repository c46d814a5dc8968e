"""Every bundle × source × finding state, each encoding and each answer, before every judge.

The table is matrix.md. A source that a bundle does not take, or cannot read, stands in it with the
node's answer.

A perfect model stands in for the network, so that every voxel and number has a known truth; its
manifest is the bundle's own. Images go through files and the worker's reader.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import analyses
import judges
import pytest
import validators
from clinic import Clinic
from court import Court
from matrix import (
    BUNDLES,
    ENCODED,
    FOLDERS,
    SHIPPED,
    cases,
    encoded,
    expected,
    failures,
    first,
    refusals,
    takes,
    unread,
)
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.asked import all_asked
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.job import JobState
from dicom_node.ledger.succession import Row
from dicom_node.settings.results import Results
from reports.answer import ANSWERS, Answer, answer_document
from reports.case import Case
from reports.references import Reference
from reports.rejection import Rejection, rejection_note
from reports.settings import ReportSettings
from reports.source import repaired_sources
from reports.subject import Maker
from reports.writer import WRITERS, write_results
from workers.statements import speak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.orthanc,
    pytest.mark.dcmtk,
    pytest.mark.validators,
    pytest.mark.timeout(300),
]
ENCODINGS = {
    "LABELMAP, integer map": ReportSettings(segmentation="LABELMAP", parametric_map="INTEGER"),
    "FRACTIONAL": ReportSettings(segmentation="FRACTIONAL"),
}
MANY = 8
"""Lesions, whose key slices become the pages of one capture."""
REASONS = {"not eligible": "GEOMETRY", "failed": "DEVICE_MEMORY"}


@pytest.fixture(scope="module")
def pacs(tool: validators.Tool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tool("Orthanc"), tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def court(
    pacs: Orthanc, tool: validators.Tool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Court]:
    made = Court(pacs, tool, tmp_path_factory.mktemp("sources"))
    yield made
    made.table.write()


@pytest.mark.parametrize(("bundle", "source", "state"), list(cases()))
def test_every_object_passes_every_judge(
    bundle: str, source: str, state: Presence, court: Court, tmp_path: Path
) -> None:
    model = BUNDLES[bundle]
    given = court.analysis(source, state, model)
    said = state.lower() if takes(bundle, source) else f"{state.lower()}, were it taken"
    row, results = (bundle, source, said), write_results(Case(given), WRITERS)
    wanted = expected(bundle, source, state)
    if (source, state) == (first(bundle), Presence.PRESENT):
        results.append(retracted(given, results))
        wanted |= {ResultKind.REJECTION_NOTE}
    case = court.hear([row], given, results, tmp_path, court.files(source, state))
    assert {kind for kind, found in case.paths.items() if found} == wanted
    if state is Presence.ABSENT:
        assert [f.label for f in given.findings] == [target.label for target in model.targets]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("bundle", "source", "state"), list(encoded()))
def test_every_encoding_passes_every_judge(
    bundle: str, source: str, state: Presence, encoding: str, court: Court, tmp_path: Path
) -> None:
    settings = ENCODINGS[encoding]
    given = court.analysis(source, state, SHIPPED[bundle], encoding)
    results = write_results(Case(given, settings), WRITERS)
    row = (bundle, source, f"{state.lower()}, {encoding}")
    case = court.hear([row], given, results, tmp_path, court.files(source, state))
    (segmentation,) = (dcmread(path) for path in case.paths[ResultKind.SEGMENTATION])
    assert segmentation.SegmentationType == settings.segmentation
    for path in case.paths[ResultKind.PARAMETRIC_MAP]:
        assert ("PixelData" in dcmread(path)) == (settings.parametric_map == "INTEGER")


@pytest.mark.parametrize("source", ["CT", "enhanced MR"])
@pytest.mark.parametrize("bundle", SHIPPED)
def test_many_lesions_pass_every_judge(
    bundle: str, source: str, court: Court, tmp_path: Path
) -> None:
    given = court.analysis(source, Presence.PRESENT, SHIPPED[bundle], "many", MANY)
    files = court.files(source, lesions=MANY)
    row, results = (bundle, source, f"present, {MANY} lesions"), write_results(Case(given), WRITERS)
    case = court.hear([row], given, results, tmp_path, files)
    (capture,) = (dcmread(path) for path in case.paths[ResultKind.SECONDARY_CAPTURE])
    assert capture.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert capture.NumberOfFrames > 4


@pytest.mark.parametrize("answer", REASONS)
@pytest.mark.parametrize(
    ("bundle", "source"),
    [*product(SHIPPED, ENCODED), *((b, first(b)) for b in BUNDLES if b not in SHIPPED)],
)
def test_every_answer_passes_every_judge(
    bundle: str, source: str, answer: str, court: Court, tmp_path: Path
) -> None:
    given = court.analysis(source, Presence.ABSENT, BUNDLES[bundle], answer)
    documents = answers(given, REASONS[answer])
    row, files = (bundle, source, answer), court.files(source, Presence.ABSENT)
    case = court.hear([row], given, documents, tmp_path, files, answer=True)
    assert {kind for kind, found in case.paths.items() if found} == set(ANSWERS)
    assert all(REASONS[answer] in said for said in map(judges.words, case.everything))


@pytest.mark.parametrize("source", [source for source, bundles in refusals().items() if bundles])
def test_what_a_model_does_not_take_is_answered_by_the_node(
    source: str, court: Court, tmp_path: Path
) -> None:
    """One node with all bundles that do not: its answer names what each has against the series."""
    bundles = refusals()[source]
    with node_of(bundles, tmp_path) as clinic:
        (job,), documents = asked(clinic, court.files(source))
        page = clinic.ledger.pages.study(analyses.UIDS["StudyInstanceUID"])
    why = {row["model_name"]: row["reason"] for row in page.selection}
    rows = [
        (bundle, source, f"refused: {job['reason']} ({why[BUNDLES[bundle].name]})")
        for bundle in bundles
    ]
    assert (job["state"], job["reason"]) == (JobState.DECLINED, "NO_MODEL")
    case = court.hear(rows, None, documents, tmp_path, court.files(source), answer=True)
    assert {kind for kind, found in case.paths.items() if found} == set(ANSWERS)
    for said in map(judges.words, case.everything):
        assert all(reason in said for reason in why.values())


@pytest.mark.parametrize(("bundle", "source"), list(failures()))
def test_what_a_model_cannot_read_is_answered_by_the_node(
    bundle: str, source: str, court: Court, tmp_path: Path
) -> None:
    with node_of([bundle], tmp_path) as clinic:
        (job,), documents = asked(clinic, court.files(source))
    reason = unread(bundle, source)
    assert (job["state"], job["reason"]) == (JobState.QUARANTINED, reason)
    given = court.analysis("CT", Presence.ABSENT, BUNDLES[bundle])
    rows = [(bundle, source, f"refused: {reason}")]
    case = court.hear(rows, given, documents, tmp_path, court.files(source), answer=True)
    assert {kind for kind, found in case.paths.items() if found} == set(ANSWERS)
    assert all(reason in said for said in map(judges.words, case.everything))


@contextmanager
def node_of(bundles: Iterable[str], folder: Path) -> Iterator[Clinic]:
    """A node with these bundles, that answers in every form."""
    clinic = Clinic(folder / "node", [FOLDERS[bundle] for bundle in bundles])
    results = Results(kinds=ANSWERS)
    clinic.world.settings = clinic.world.settings.model_copy(update={"results": results})
    clinic.worker.settings = clinic.world.settings
    clinic.world.restart()
    yield clinic
    clinic.close()


def asked(clinic: Clinic, files: Sequence[Path]) -> tuple[Sequence[Row], list[ResultInstance]]:
    """The jobs of a study, and what the node says in place of a result."""
    clinic.send([file.read_bytes() for file in files])
    clinic.answer()
    for job_id in clinic.ledger.answers.waiting(clinic.world.settings.results.answered):
        speak(clinic.worker, job_id)
    page = clinic.ledger.pages.study(analyses.UIDS["StudyInstanceUID"])
    assert page is not None
    store = clinic.world.store
    said = [(row["kind"], dcmread(store.path(row["sha256"]))) for row in page.results]
    return page.jobs, [ResultInstance(ResultKind(kind), dataset) for kind, dataset in said]


def retracted(given: Analysis, results: Sequence[ResultInstance]) -> ResultInstance:
    """The note that takes results back."""
    rejection = Rejection(
        sent=tuple(result.dataset for result in results),
        reader="Weber, Anna",
        comment="Motion, not a lesion.",
        rejected_at=analyses.AT,
        sources=repaired_sources(given.images.datasets),
        maker=Maker.model(given.manifest, "b0" * 32),
        provenance=given.provenance,
        settings=ReportSettings(),
    )
    return rejection_note(rejection)


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
        asked=all_asked(given.manifest),
        selection=given.selection,
    )
    return [answer_document(answer, form) for form in ANSWERS]

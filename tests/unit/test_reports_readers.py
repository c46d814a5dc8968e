"""Whatever kinds a destination takes: nothing that it gets refers to an object that it does not."""

from collections.abc import Iterator, Sequence

import analyses
import pytest
from pydicom import Dataset

from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.readers import Readers
from reports.references import Reference
from reports.writer import WRITERS, write_results

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KINDS = tuple(writer.kind for writer in WRITERS)
NAMED = tuple(kind for kind in KINDS if kind not in REPORT_FORMS)
TAKEN = {
    "all": KINDS,
    **{f"all but {kind.label}": tuple(k for k in KINDS if k is not kind) for kind in NAMED},
    **{f"SR and {kind.label}": (kind, ResultKind.STRUCTURED_REPORT) for kind in NAMED},
    "SR alone": REPORT_FORMS,
}
"""Destinations, and what each of them takes."""
NOT_MADE = {ResultKind.DERIVED_IMAGE, ResultKind.COLOR_PRESENTATION_STATE}
"""No image is derived, and without a map there are no colours for one."""
OLD = {
    name: Reference("2.25.1001", "2.25.7", "1.2.840.10008.5.1.4.1.1.88.34", f"2.25.80{n}")
    for n, name in enumerate(TAKEN)
}


@pytest.fixture(scope="module")
def given() -> Analysis:
    return analyses.analysis(phantom(7, slices=3, size=64))


@pytest.fixture(scope="module")
def results(given: Analysis) -> list[ResultInstance]:
    case = Case(given, predecessors=tuple(OLD.values()))
    readers = [Readers(frozenset(k), (name,), (OLD[name],)) for name, k in TAKEN.items()]
    return write_results(case, WRITERS, readers)


def got(results: Sequence[ResultInstance], name: str) -> list[ResultInstance]:
    kinds = TAKEN[name]
    return [r for r in results if r.kind in kinds and (r.readers is None or name in r.readers)]


def references(item: Dataset) -> Iterator[str]:
    for element in item:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for child in element.value:
                yield from references(child)


@pytest.mark.parametrize("name", TAKEN)
def test_nothing_refers_to_what_its_readers_do_not_get(
    name: str, given: Analysis, results: list[ResultInstance]
) -> None:
    own = got(results, name)
    there = {str(r.dataset.SOPInstanceUID) for r in own}
    there |= {frame.sop_instance_uid for frame in given.images.frames}
    named = {uid for r in own for uid in references(r.dataset)}
    if {r.kind for r in own}.intersection(REPORT_FORMS):
        there.add(OLD[name].sop_instance_uid)
        assert OLD[name].sop_instance_uid in named
    assert named - there == set()


@pytest.mark.parametrize("kind", NAMED)
def test_an_sr_refers_to_what_its_readers_get(
    kind: ResultKind, results: list[ResultInstance]
) -> None:
    own = got(results, f"SR and {kind.label}")
    (report,) = (r.dataset for r in own if r.kind is ResultKind.STRUCTURED_REPORT)
    others = {str(r.dataset.SOPInstanceUID) for r in own if r.kind is kind}
    assert others <= set(references(report))
    assert bool(others) is (kind not in NOT_MADE)


def test_no_two_results_have_one_uid(results: list[ResultInstance]) -> None:
    uids = [r.dataset.SOPInstanceUID for r in results]
    assert len(uids) == len(set(uids))


def test_who_gets_everything_gets_what_is_written_without_readers(
    given: Analysis, results: list[ResultInstance]
) -> None:
    alone = write_results(Case(given, predecessors=(OLD["all"],)), WRITERS)
    known = {dataset_bytes(r.dataset) for r in got(results, "all") if r.kind in REPORT_FORMS}
    assert {dataset_bytes(r.dataset) for r in alone if r.kind in REPORT_FORMS} == known

"""Every case of the bad-input catalogue has an answer, a line in the log, and tests that exist."""

import ast
from pathlib import Path

import pytest
from catalogue import cases

from dicom_node.domain.job import JobState

TESTS = Path(__file__).parent.parent
EVENTS = {f"{what}.reject" for what in ("assoc", "store", "web", "bundle")} | {
    *(f"{what}.note" for what in ("assoc", "store", "study")),
    *(f"{what}.quarantine" for what in ("study", "job")),
}


def functions(file: str) -> set[str]:
    (path,) = TESTS.rglob(file)
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}


def test_there_are_75() -> None:
    assert sorted({case.number for case in cases()}) == list(range(1, 76))


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.number} {case.reason}")
def test_each_has_its_tests(case) -> None:
    assert case.tests
    for file, name in case.tests:
        assert name in functions(file)
        first, _, last = name.removeprefix("test_").partition("_to_")
        low = int(first.partition("_")[0])
        high = int(last.partition("_")[0]) if last[:1].isdigit() else low
        assert low <= case.number <= high or (case.number, low) == (37, 36)
    assert case.event in EVENTS
    assert (case.answer == JobState.QUARANTINED) == case.event.endswith(".quarantine")

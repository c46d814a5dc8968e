"""Fixtures for all tests: the data beside the project, and tools that a laptop may lack."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ward import Ward

TESTS = Path(__file__).parent
ONE_THREAD = (
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
)  # fmt: skip
APART = {
    "faults": ["faults"],
    "alone": ["integration/test_bad_network.py", "integration/test_tls.py"],
}
sys.path.insert(0, str(TESTS))  # tests import ``analyses`` and ``validators`` from here
pytest.register_assert_rewrite("judges")
os.environ.pop("COLUMNS", None)  # xdist says 80, and rich would hold every console to it
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers on two cores: more threads only wait
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They kill and starve the node, or hold it to seconds: nothing heavy may run beside them."""
    for item in items:
        for mark, places in APART.items():
            if any(item.path.is_relative_to(TESTS / each) for each in places):
                item.add_marker(mark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tables that tests recorded as "printed": the output of workers of xdist goes nowhere."""
    reports = [each for group in terminalreporter.stats.values() for each in group]
    for report in reports:
        for name, text in getattr(report, "user_properties", ()):
            if name == "printed" and report.when == "call":
                terminalreporter.section(report.nodeid.rpartition("::")[-1])
                terminalreporter.line(text)


def missing(what: str) -> None:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real DICOM data beside the project."""
    folder = TESTS.parent.parent / "shared" / "data"
    if not folder.is_dir():
        missing("the data folder ../shared/data")
    return folder


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Path of a command line tool: ``tool("dciodvfy")``.

    Not from the environment that runs the tests: pynetdicom brings a ``storescu`` of its own.
    """
    ours = Path(sys.executable).parent
    folders = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != ours]

    def find(name: str) -> str:
        path = shutil.which(name, path=os.pathsep.join(folders))
        if path is None:
            missing(f"the tool {name}")
        return str(path)

    return find


@pytest.fixture
def ward(tmp_path: Path) -> Iterator["Ward"]:
    """A ledger in a folder of its own."""
    from ward import Ward

    opened = Ward.open(tmp_path)
    yield opened
    opened.ledger.close()

"""Fixtures for all tests: the data beside the project, and tools that a laptop may lack."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ALONE = ("faults", "integration/test_bad_network.py", "integration/test_tls.py")
sys.path.insert(0, str(TESTS))  # tests import ``analyses`` and ``validators`` from here
pytest.register_assert_rewrite("judges")
os.environ.pop("COLUMNS", None)  # xdist says 80, and rich would hold every console to it
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers on two cores: more threads only wait
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing runs beside these: they kill and starve the node, or hold it to seconds."""
    for item in items:
        if any(item.path.is_relative_to(TESTS / each) for each in ALONE):
            item.add_marker(pytest.mark.alone)


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

"""One campaign for the session; its table at the end, and ``faults.json`` where all of it ran.

A run of the whole folder fails if it tried too little, or lost anything (``campaign.shortfall``).
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from campaign import FULL, Campaign, Injection, shortfall  # noqa: E402
from processes import kill_all  # noqa: E402

CAMPAIGN = Campaign()
REPORT = FOLDER.parent.parent / "faults.json"
FILES = {path.name for path in FOLDER.glob("test_*.py")}
LEFT_OUT: list[str] = []
"""Tests of the folder that somebody deselected, and parts that were missing here."""
WRONG: list[str] = []
WHOLE: list[bool] = []
"""What each worker of xdist says: they run the tests, and all of them were asked to."""


@pytest.fixture(scope="session")
def campaign() -> Campaign:
    return CAMPAIGN


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    yield
    kill_all()


def pytest_deselected(items):
    LEFT_OUT.extend(item.name for item in items if item.path.parent == FOLDER)


def pytest_runtest_logreport(report):
    if report.skipped and "is missing" in str(report.longrepr):
        LEFT_OUT.append(report.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    if error is not None:  # it died, and the run has failed
        return
    told = node.workeroutput["campaign"]
    CAMPAIGN.injections.extend(Injection(**each) for each in told["injections"])
    WHOLE.append(told["is_whole"])


def pytest_sessionfinish(session):
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        injections = [asdict(each) for each in CAMPAIGN.injections]
        told["campaign"] = {"injections": injections, "is_whole": _is_whole(session)}
        return
    is_whole = all(WHOLE) if WHOLE else _is_whole(session)
    if not CAMPAIGN.injections or not (is_whole or FULL):
        return
    CAMPAIGN.write(REPORT)
    if is_whole and (wrong := shortfall(REPORT)):
        WRONG.append(wrong)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_whole(session) -> bool:
    """Whether every test of the folder was to run."""
    named = any("::" in argument for argument in session.config.args)
    files = {item.path.name for item in session.items if item.path.parent == FOLDER}
    return files == FILES and not LEFT_OUT and not named


def pytest_terminal_summary(terminalreporter):
    if not CAMPAIGN.injections:
        return
    terminalreporter.section("fault campaign")
    for line in (*CAMPAIGN.table(), *WRONG):
        terminalreporter.write_line(line)

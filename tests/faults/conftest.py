"""One campaign for the session; its table at the end, and ``faults.json`` where all of it ran."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from campaign import FULL, Campaign
from processes import kill_all

CAMPAIGN = Campaign()
REPORT = Path(__file__).parent.parent.parent / "faults.json"


@pytest.fixture(scope="session")
def campaign() -> Campaign:
    return CAMPAIGN


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    yield
    kill_all()


def pytest_terminal_summary(terminalreporter):
    if not CAMPAIGN.injections:
        return
    terminalreporter.section("fault campaign")
    for line in CAMPAIGN.table():
        terminalreporter.write_line(line)
    if FULL:
        CAMPAIGN.write(REPORT)

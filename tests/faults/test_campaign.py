"""The campaign judges itself: a run of all its files that tried too little, or lost anything, fails
by what its report says, whatever its tests thought of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import LEAST

FOLDER = Path(__file__).parent
TEST = """
from campaign import Injection

def test_some(campaign):
    for _ in range({count}):
        campaign.injections.append(Injection("{area}", "a fault", **{found}))

def test_more(campaign):
    campaign.injections.append(Injection("door", "another", True))
"""


@pytest.fixture
def run(tmp_path):
    """Run a small campaign of two files with these options; what pytest says, and its status."""
    folder = tmp_path / "tests" / "faults"
    folder.mkdir(parents=True)
    for name in ("conftest.py", "campaign.py", "processes.py"):
        (folder / name).write_text((FOLDER / name).read_text())
    (folder / "test_other.py").write_text("def test_nothing():\n    pass\n")

    def run(*options, count=LEAST, area="door", **found):
        found = {"survived": True} | found
        text = TEST.format(count=count, area=area, found=found)
        (folder / "test_some.py").write_text(text)
        paths = [str(folder / o) if o.endswith(".py") else o for o in options] or [str(folder)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
        environment = os.environ | {"FAULTS": "", "PYTEST_ADDOPTS": ""}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    run.report = tmp_path / "faults.json"
    return run


def test_a_whole_run_that_tried_enough_passes_and_writes_its_report(run):
    assert run()[0] == 0
    assert json.loads(run.report.read_text())["total"]["tried"] == LEAST + 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"count": LEAST - 2}, f"{LEAST - 1} faults were tried"),
        ({"area": "mutations"}, "1 faults were tried"),
        ({"survived": False}, "not all were survived"),
        ({"lost": 1}, f"{LEAST} were lost"),
        ({"duplicates": 2}, f"{2 * LEAST} came twice"),
    ],
)
def test_a_whole_run_fails_by_its_report(run, found, said):
    status, output = run(**found)
    assert "3 passed" in output
    assert status == 1
    assert said in output


def test_what_two_workers_did_is_judged_together(run):
    side_by_side = [".", "--numprocesses=2", "--dist=load"]
    assert run(*side_by_side)[0] == 0
    assert json.loads(run.report.read_text())["total"]["tried"] == LEAST + 1
    status, output = run(*side_by_side, count=LEAST - 2)
    assert (status, f"{LEAST - 1} faults were tried" in output) == (1, True)


@pytest.mark.parametrize(
    "options",
    [["test_some.py"], [".", "-k", "some"], ["test_some.py", "test_other.py", "-k", "more"]],
)
def test_a_part_of_it_is_not_judged(run, options):
    status, output = run(*options, count=3)
    assert status == 0, output
    assert not run.report.exists()

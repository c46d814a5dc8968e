"""A fault point does nothing until a plan names it, and then ends the process at that passage."""

import os
import signal
import subprocess
import sys

import pytest

PASS_TWICE = """
from dicom_node import faults
for passage in (1, 2):
    faults.point("here")
    faults.point("there")
    print(passage, flush=True)
"""


def passed(plan: str) -> tuple[int, str]:
    """Exit status of a program that passes both points twice, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PASS_TWICE],
        env={**os.environ, "DICOM_NODE_FAULT": plan},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("plan", "end", "printed"),
    [
        ("", 0, "1\n2\n"),
        ("elsewhere:1", 0, "1\n2\n"),
        ("here:3", 0, "1\n2\n"),
        ("there", -signal.SIGKILL, ""),
        ("here:2", -signal.SIGKILL, "1\n"),
        ("here:2:SEGV", -signal.SIGSEGV, "1\n"),
        ("here:2:MEMORY", 1, "1\n"),
    ],
)
def test_a_plan_ends_the_process_at_its_passage(plan, end, printed):
    assert passed(plan) == (end, printed)

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

PASS_IN_A_THREAD = """
import os, threading
from dicom_node import faults

def work():
    polite.wait()
    faults.point("here")
    os.write(1, b"passed")

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
polite = threading.Event()
thread = threading.Thread(target=work)
thread.start()
os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
polite.set()
thread.join()
"""
"""On one processor, where the first thread is the last to hear of a signal."""


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


def test_a_thread_that_is_stopped_goes_no_further():
    """Though a signal to the process would be taken by any thread, at its leisure."""
    running = subprocess.Popen(
        [sys.executable, "-c", PASS_IN_A_THREAD],
        env={**os.environ, "DICOM_NODE_FAULT": "here:1:STOP"},
        stdout=subprocess.PIPE,
    )
    os.waitid(os.P_PID, running.pid, os.WSTOPPED)
    running.kill()
    assert running.communicate() == (b"", None)

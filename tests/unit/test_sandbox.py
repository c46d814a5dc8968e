"""A child that dies, hangs or lies is replaced, and the next request is served."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.headers import MOST_DEATHS, GuardedReader
from dicom_node.sandbox import ChildDied, Sandbox
from dicom_node.store import StoredFile

NOWHERE = StoredFile(Path("x"), 0, 1)
CHILD = """
import os, time
from dicom_node.sandbox import serve

def answer(request):
    if request == "die":
        os.kill(os.getpid(), 11)
    if request == "hang":
        time.sleep(60)
    if request == "slow":
        time.sleep(0.5)
    if request == "eat":
        return len(bytearray(1 << 30))
    if request == "burn":
        while True:
            pass
    if request == "lie":
        print("not json", flush=True)
    return request

serve(answer)
"""


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    (tmp_path / "poisonable.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    made = Sandbox("poisonable", memory_mib=512, timeout_s=2)
    yield made
    made.close()


def test_a_child_that_burns_the_processor_ends_by_itself(sandbox, tmp_path):
    child = subprocess.run(
        [sys.executable, tmp_path / "poisonable.py", "512", "1"],
        input=b'"before"\n"burn"\n',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, child.stdout) == (-signal.SIGXCPU, b'{}\n"before"\n')


@pytest.mark.parametrize("poison", ["die", "hang", "eat", "lie"])
def test_poison_kills_the_child_alone(sandbox, poison):
    assert sandbox.ask({"a": [1, None, "ä"]}) == {"a": [1, None, "ä"]}
    with pytest.raises(ChildDied):
        sandbox.ask(poison)
    assert sandbox.ask("again") == "again"


def test_the_time_of_a_request_begins_when_the_child_is_up(sandbox, tmp_path):
    """Else the first image of a study is called unreadable by a machine that has much to do."""
    module = tmp_path / "poisonable.py"
    module.write_text(f"import time; time.sleep(3)\n{module.read_text()}")
    assert sandbox.ask("slow") == "slow"


def test_a_child_that_does_not_come_up_is_dead(sandbox, tmp_path):
    (tmp_path / "poisonable.py").write_text("import nothing_of_this_name")
    with pytest.raises(ChildDied):
        sandbox.ask("hello")


def test_a_request_that_is_broken_off_is_not_answered_to_the_next(sandbox):
    """As a worker's soft time limit does, from a signal."""

    class Limit(Exception):
        pass

    def stop(*_: object) -> None:
        raise Limit

    assert sandbox.ask("first") == "first"
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Limit):
            sandbox.ask("slow")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sandbox.ask("next") == "next"


def test_a_header_that_kills_is_unreadable_and_the_study_is_given_up_after_three(monkeypatch):
    reader = GuardedReader()
    asked = []

    def die(request):
        asked.append(request)
        raise ChildDied("dead")

    monkeypatch.setattr(reader._sandbox, "ask", die)
    assert [reader.read(NOWHERE, []) for _ in range(10)] == [None] * 10
    assert len(asked) == MOST_DEATHS
    reader.next_study()
    reader.read(NOWHERE, [])
    assert len(asked) == MOST_DEATHS + 1


def test_a_real_header_is_read_in_the_child(tmp_path):
    from dicom_node.testing.phantom import phantom
    from dicom_node.testing.study import make_study, save_study

    (path,) = save_study(make_study(phantom(1, slices=1, size=16)), tmp_path)
    reader = GuardedReader()
    header = reader.read(
        StoredFile(path, 0, path.stat().st_size), ["Modality", "PatientName", "KVP"]
    )
    reader.close()
    assert header["Modality"] == "CT"
    assert header["PatientName"] == "Phantom^Trunk"
    assert header["KVP"] == 120

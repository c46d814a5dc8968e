"""The demo runs the whole node, says honestly what came back, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow, pytest.mark.timeout(400)]
DEMO = [sys.executable, "-P", "-m", "dicom_node", "demo"]


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "160", **environment},
    )


@pytest.fixture
def place(tmp_path_factory, monkeypatch):
    """Where the demos of a test keep their folders."""
    folder = tmp_path_factory.mktemp("place")
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def leftovers(place: Path) -> list[str]:
    folders = [str(p) for p in place.glob("dicom-node-demo-*")]
    return folders + processes(place)


def processes(place: Path) -> list[str]:
    found = ["pgrep", "-fa", f"{place}/dicom-node-demo-"]
    return subprocess.run(found, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.mark.redis
def test_it_brings_back_every_kind_and_leaves_nothing(tool, tmp_path, place):
    tool("redis-server")
    run = demo("--exit", "--output", str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    classes = {dcmread(p).SOPClassUID.name for p in tmp_path.glob("*.dcm")}
    assert classes == {
        "Segmentation Storage",
        "Parametric Map Storage",
        "Secondary Capture Image Storage",
        "Encapsulated PDF Storage",
        "Comprehensive 3D SR Storage",
    }
    assert "Lesion present" in (tmp_path / "report.html").read_text()
    assert "Lesion present" in run.stdout
    assert leftovers(place) == []


def test_without_redis_it_says_so_and_still_brings_everything_back(tmp_path):
    run = demo("--exit", "--output", str(tmp_path), PATH=str(Path(sys.executable).parent))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "not durable" in re.sub(r"\s+", " ", run.stdout)
    assert len(list(tmp_path.glob("*.dcm"))) == 5


@pytest.mark.redis
def test_a_study_that_fits_no_model_fails_with_the_reason(tool, tmp_path):
    tool("redis-server")
    study = make_study(phantom(1, slices=4, size=64), attributes={"Modality": "PT"})
    save_study(study, tmp_path)
    run = demo("--exit", "--study", str(tmp_path))
    assert run.returncode == 1
    assert "modality PT, not CT" in run.stdout


@pytest.mark.redis
@pytest.mark.shared
def test_it_takes_a_user_s_own_study(tool, shared_data, tmp_path):
    tool("redis-server")
    study = shared_data / "series-ct-kits-00072"
    run = demo("--exit", "--study", str(study), "--output", str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "report.html").exists()


@pytest.mark.redis
def test_ctrl_c_leaves_no_process_and_no_file(tool, place):
    tool("redis-server")
    process = subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C ends" in line:
            break
    assert leftovers(place) != []
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert leftovers(place) == []


@pytest.mark.redis
def test_when_the_demo_is_killed_its_processes_end_too(tool, place):
    tool("redis-server")
    process = subprocess.Popen(DEMO, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(leftovers(place)) < 6 and time.monotonic() < deadline:
        time.sleep(0.5)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 90
    while processes(place) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert processes(place) == []

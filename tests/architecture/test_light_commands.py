"""Light commands never import TensorFlow, nor anything else that only the worker needs."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "keras", "tf_keras_vis", "highdicom", "weasyprint", "scipy")
COMMANDS = {
    "help": "--help",
    "config": "config show",
    "doctor": "doctor",
    "echo": "echo NODE@127.0.0.1:1",
    "alive": "alive sweep",
    "import": "import .",
}
ROLES = ("run_listener", "run_sweep", "run_web")


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_light_command_stays_light(command, tmp_path):
    arguments = COMMANDS[command].split()
    out = run(
        f"""
import contextlib, io, sys
from dicom_node import cli
sys.argv = ["dicom-node", *{arguments!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli.main()
print([name for name in {HEAVY!r} if name in sys.modules])
""",
        tmp_path,
    )
    assert out.splitlines()[-1] == "[]"


def test_a_listener_brings_no_celery_along(tmp_path):
    out = run(
        """
import sys
from dicom_node.roles import run_listener
from dicom_node.receive import listener
print([name for name in ("celery", "kombu", "dicom_node.catalog") if name in sys.modules])
""",
        tmp_path,
    )
    assert out.strip() == "[]"


def test_the_roles_stay_light(tmp_path):
    out = run(
        f"""
import sys
from dicom_node import broker, demo, roles, serve, sweep
from dicom_node.receive import listener
from dicom_node.web import app
from dicom_node.demo import run
print([name for name in {HEAVY!r} if name in sys.modules])
""",
        tmp_path,
    )
    assert out.strip() == "[]"


def test_the_parent_of_a_worker_has_no_tensorflow(tmp_path):
    out = run(
        """
import sys
from dicom_node.settings.node import Settings
from dicom_node.settings.work import Broker
from workers.app import make_app
make_app(Settings(broker=Broker(url="redis://127.0.0.1:1/0")))
print("tensorflow" in sys.modules or "keras" in sys.modules)
""",
        tmp_path,
    )
    assert out.strip() == "False"


def test_our_packages_belong_to_our_distribution_alone():
    """It may be found twice: installed, and as the build's egg-info in the working folder."""
    owners = packages_distributions()
    for name in ("dicom_node", "workers", "explain", "reports"):
        assert set(owners[name]) == {"dicom-node"}


def test_no_test_folder_is_named_like_a_package():
    tests = Path(__file__).parent.parent
    names = {p.name for p in tests.rglob("*") if p.is_dir()}
    assert not names & {"dicom_node", "workers", "explain", "reports"}

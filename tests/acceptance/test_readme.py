"""What the README says of bringing one's own model is what happens when one does it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.catalog import configured
from dicom_node.domain.steps import Denoising, Feature, Geometry, Intensity
from dicom_node.settings.models import Models

README = Path(__file__).parent.parent.parent / "README.md"


def section(title: str) -> str:
    """From its heading to the next; a heading within a block of code is none."""
    after = README.read_text("utf-8").split(f"\n## {title}\n")[1]
    ends = (each.start() for each in re.finditer(r"^## ", after, re.MULTILINE))
    return after[: next(end for end in ends if after.count("```", 0, end) % 2 == 0)]


SECTION = section("Bring your own model")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "PATH": programs, "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.redis
@pytest.mark.timeout(600)
def test_a_model_in_memory_becomes_a_report_in_an_archive(tmp_path, tool, monkeypatch):
    tool("redis-server")
    tool("openssl")
    script = "".join(text for language, text in BLOCKS if language == "python")
    run(tmp_path, sys.executable, "-c", script)
    checking, demo = (text for language, text in BLOCKS if language == "sh")
    assert "golden test" in run(tmp_path, "bash", "-ec", checking).stdout
    run(tmp_path, "bash", "-ec", demo)
    results = [dcmread(path) for path in (tmp_path / "results").glob("*.dcm")]
    assert {"SR", "DOC"} <= {result.Modality for result in results}
    assert "Nodule" in (tmp_path / "results" / "report.html").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    (settings,) = (text for language, text in BLOCKS if language == "toml")
    models = Models.model_validate(tomllib.loads(settings)["models"])
    assert [bundle.signed_by for bundle in configured(models).bundles] == ["group"]


def test_every_step_stands_in_the_table():
    rows = dict(re.findall(r"^\| (\w+).*? \| (`.*`) \|$", SECTION, re.MULTILINE))
    families = {
        "intensity": Intensity, "geometry": Geometry, "denoising": Denoising, "features": Feature
    }  # fmt: skip
    for family, union in families.items():
        names = {step.model_fields["step"].annotation.__args__[0] for step in union.__args__}
        assert set(re.findall(r"`(\w+)`", rows[family])) == names

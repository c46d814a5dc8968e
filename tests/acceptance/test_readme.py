"""What the README says of bringing one's own model is what happens when one does it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from data_sets import inserts
from pydicom import dcmread

from dicom_node.catalog import configured
from dicom_node.domain.steps import Denoising, Feature, Geometry, Intensity
from dicom_node.settings.models import Models
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.training.own.recipe import Recipe

README = Path(__file__).parent.parent.parent / "README.md"


def section(title: str) -> str:
    """From its heading to the next; a heading within a block of code is none."""
    after = README.read_text("utf-8").split(f"\n## {title}\n")[1]
    ends = (each.start() for each in re.finditer(r"^## ", after, re.MULTILINE))
    return after[: next(end for end in ends if after.count("```", 0, end) % 2 == 0)]


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


SECTION = section("Bring your own model")
BLOCKS = blocks(SECTION)


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


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.timeout(600)
def test_a_recipe_and_a_table_become_a_bundle_that_passes(tmp_path):
    (manifest,) = re.findall(r'MANIFEST = """\n(.*?)"""', SECTION, re.DOTALL)
    parts = dict(blocks(section("Train on your own data")))
    (tmp_path / "manifest.toml").write_text(manifest, "utf-8")
    (tmp_path / "recipe.toml").write_text(parts["toml"], "utf-8")
    save_study(make_study(phantom(1)), tmp_path / "study")
    data = inserts(tmp_path / "cases", "nifti", 20, label="Nodule")
    header = (data / "data.csv").read_text("utf-8").splitlines()[0]
    assert set(parts["csv"].splitlines()[0].split(",")) <= set(header.split(","))
    said = run(tmp_path, "bash", "-ec", parts["sh"]).stdout
    assert "my-nodules@0.1.0 in our-nodules" in said
    assert "golden test" in said
    assert (tmp_path / "evaluation.html").exists()


def test_every_key_of_a_recipe_stands_in_the_example():
    parts = dict(blocks(section("Train on your own data")))
    written = tomllib.loads(parts["toml"].replace("# start", "start"))
    for name, field in Recipe.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        said = written[name]
        assert set(said if inner else inner) == set(inner)


def test_every_step_stands_in_the_table():
    rows = dict(re.findall(r"^\| (\w+).*? \| (`.*`) \|$", SECTION, re.MULTILINE))
    families = {
        "intensity": Intensity, "geometry": Geometry, "denoising": Denoising, "features": Feature
    }  # fmt: skip
    for family, union in families.items():
        names = {step.model_fields["step"].annotation.__args__[0] for step in union.__args__}
        assert set(re.findall(r"`(\w+)`", rows[family])) == names

"""The wheel holds all that runs, and the light image's install works without TensorFlow."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        *names, _ = line.split()
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_code_templates_migrations_and_bundles(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        r"workers/bundles/phantom-lesion/model\.keras",
        r"workers/bundles/phantom-lesion/SHA256SUMS",
        r"dicom_node/ledger/migrations/versions/0001_.*\.py",
        r"dicom_node/web/templates/.*\.html",
        r"dicom_node/web/static/.*\.css",
        r"reports/templates/report\.html",
        r"reports/templates/report\.css",
        r"reports/locale/zh_Hans/LC_MESSAGES/reports\.po",
    ):
        assert any(re.fullmatch(wanted, name) for name in names), wanted
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "dicom_node", "workers", "explain", "reports",
    }  # fmt: skip


@pytest.mark.slow
def test_the_light_install_of_the_dockerfile_runs_every_light_command(wheel, tmp_path):
    constraints = tmp_path / "constraints.txt"
    step = re.search(r"RUN (grep .*?) > constraints\.txt", DOCKERFILE, re.DOTALL)
    assert step is not None
    lines = subprocess.run(
        ["bash", "-c", step[1]], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    constraints.write_text(lines)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), str(wheel)]
    subprocess.run(install, check=True, timeout=280)

    listed = subprocess.run(
        [str(python), "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "tensorflow" not in listed
    assert "highdicom" not in listed
    node = str(tmp_path / "venv" / "bin" / "dicom-node")
    for arguments in (["--help"], ["config", "show"]):
        subprocess.run([node, *arguments], check=True, capture_output=True, cwd=tmp_path)
    doctor = subprocess.run([node, "doctor"], capture_output=True, text=True, cwd=tmp_path)
    assert "not installed" in doctor.stdout
    assert "phantom-lesion" in doctor.stdout


def test_the_compose_file_names_commands_that_exist():
    """No container engine runs here: what can be checked is checked by reading."""
    import yaml

    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    ours = [s for s in compose["services"].values() if "dicom-node:" in s["image"]]
    assert len(ours) == 5
    for service in ours:
        assert service["build"]["target"] in stages
        assert service["command"][0] in scripts
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    for speaks_to_the_pacs in ("listen", "sweep", "deliver"):
        networks = compose["services"][speaks_to_the_pacs]["networks"]
        assert any(not (compose["networks"][name] or {}).get("internal") for name in networks)
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["node", "node"]

"""A group trains on its own data: one recipe, one manifest, and a bundle that can be checked."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from data_sets import FORMS, inserts
from typer.testing import CliRunner

from dicom_node.catalog import open_bundle
from dicom_node.domain.errors import ConfigurationError

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

CASES = 80
HEAD = """
schema_version = 1
name = "our-discs"
version = "0.1.0"
title = "Disc finder"
manufacturer = "A group"

[selection]
modality = ["CT"]

[input]
shape = [64, 64, 1]

[[preprocess]]
step = "window"
center = {center}
width = {width}

[[preprocess]]
step = "resize"
rows = 64
columns = 64
"""
CLASSES = """
[[outputs]]
kind = "classification"
layer = "disc"
{exclusive}

[[outputs.targets]]
label = "Disc"
finding = {{ value = "706342009", scheme = "SCT", meaning = "Phantom" }}
category = {{ value = "260787004", scheme = "SCT", meaning = "Physical object" }}
threshold = 0.5
{located}
"""
OUTLINES = """
[[outputs]]
kind = "segmentation"
layer = "outlines"

[[outputs.segments]]
label = "Insert"
type = { value = "706342009", scheme = "SCT", meaning = "Phantom" }
category = { value = "260787004", scheme = "SCT", meaning = "Physical object" }
"""
NUMBER = """
[[outputs]]
kind = "regression"
layer = "diameter"

[[outputs.quantities]]
label = "Diameter"
concept = { value = "81827009", scheme = "SCT", meaning = "Diameter" }
unit = { value = "mm", scheme = "UCUM", meaning = "mm" }
finding = { value = "706342009", scheme = "SCT", meaning = "Phantom" }
category = { value = "260787004", scheme = "SCT", meaning = "Physical object" }
low = 150
high = 270
"""
TAIL = """
[explanation]
method = "{method}"
full_scale = 5.0

[card]
intended_use = "A test."
not_for = "Patients."
training_data = "Phantoms." # as the group calls them
limits = ["Knows discs."]
"""
QUICK = "[training]\nepochs = {epochs}\nbatch = 8\nrate = 3e-3\npatience = 20\n"


def manifest(*outputs: str, png: bool = False, method: str = "gradcam") -> str:
    window = (128, 256) if png else (40, 400)
    head = HEAD.format(center=window[0], width=window[1])
    return head + "".join(outputs) + TAIL.format(method=method)


def classes(*, exclusive: str = "", located: str = "") -> str:
    return CLASSES.format(exclusive=exclusive, located=located)


def written(home: Path, text: str, recipe: str) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    (home / "manifest.toml").write_text(text, "utf-8")
    (home / "recipe.toml").write_text(recipe, "utf-8")
    return home / "recipe.toml"


def run(*arguments: object):
    from workers.cli import app

    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def trained(home: Path, data: Path, text: str, recipe: str):
    """What the command says, and the bundle."""
    path = written(home, text, recipe)
    said = run("train", "own", path, home / "bundle", "--data", data)
    assert said.exit_code == 0, said.output
    return said.output, open_bundle(home / "bundle")


def figures(bundle) -> dict:
    return {row.name: row for row in bundle.manifest.card.performance}


@pytest.fixture(scope="module", params=FORMS)
def data(request, tmp_path_factory):
    return inserts(tmp_path_factory.mktemp(request.param), request.param, CASES)


def test_it_learns_to_classify_from_data_in_each_form(data, tmp_path):
    png = (data / "images" / "000.png").exists()
    text = manifest(classes(), png=png)
    said, bundle = trained(tmp_path, data, text, QUICK.format(epochs=8))
    area = figures(bundle)["Disc: Area under ROC"]
    assert area.value > 0.9
    assert area.cases == CASES / 5
    assert "fold 5: 16 cases of 8 patients" in area.data
    assert "no golden test" in said
    card = bundle.manifest.card.training_data
    assert card.startswith("Phantoms. Trained from random weights (small) on 48 slices of 48 cases")
    assert "# as the group calls them" in (bundle.path / "manifest.toml").read_text("utf-8")
    assert not (tmp_path / "bundle-state" / "state.npz").exists()

"""A group packages its model with cases of known place: method, layer and verdict are measured."""

import csv
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicom_node.catalog import open_bundle
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIDE = 96
CASES, EMPTY = 32, 32
"""Cases with a spot and its mask, and cases with none of both; every third of them looks so."""
MANIFEST = """
schema_version = 1
name = "bright-spots"
version = "0.1.0"
title = "Spot finder" # a person's own words stay
manufacturer = "A group"
task = "classification"

[selection]
modality = ["CT"]
sop_classes = ["CTImageStorage"]

[input]
shape = [96, 96, 1]

[[preprocess]]
step = "window"
center = 128
width = 256

[[preprocess]]
step = "resize"
rows = 96
columns = 96

[[outputs]]
kind = "classification"
layer = "spot"

[[outputs.targets]]
label = "Spot"
finding = { value = "27925004", scheme = "SCT", meaning = "Nodule" }
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }
threshold = 0.5
temperature = 1.0

[explanation]
method = "gradcam" # of the layer that the head reads: four cells
full_scale = 5.0

[card]
intended_use = "A test."
not_for = "Patients."
training_data = "None."
limits = ["Knows brightness."]
"""

LIMITS = """
[explanation.check] # of an earlier packaging, with limits of the author's own
hits = 0.5
centre = 0.1
average = 0.1
randomised = 0.1
cases = 9
margin = 0.45
similar = 0.2

[explanation.verdict]
bias = 0
reliable = 0.95
not_reliable = 0.4
numbers = [{ name = "spread", weight = 1, limit = 1 }]

[card]"""
CARD = """# Spots
## Intended use
A test.
## Training data
None.
## Performance
Not measured.
## Limits
Knows brightness.
"""
NUMBER = """
[[outputs]]
kind = "regression"
layer = "spot"

[[outputs.quantities]]
label = "Spot"
concept = { value = "42798000", scheme = "SCT", meaning = "Area" }
unit = { value = "mm2", scheme = "UCUM", meaning = "mm2" }
finding = { value = "27925004", scheme = "SCT", meaning = "Nodule" }
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }
low = 0
high = 100

"""


def spotter() -> "keras.Model":
    """Says how much of an image is bright, and too surely; its head reads four cells, a layer
    before it many."""
    image = keras.Input((SIDE, SIDE, 1))
    fine = keras.layers.Conv2D(4, 5, strides=2, padding="same", activation="relu", name="fine")
    coarse = keras.layers.Conv2D(4, 1, activation="relu", name="coarse")
    cells = coarse(keras.layers.AveragePooling2D(24)(fine(image)))
    head = keras.layers.Dense(1, name="spot")
    network = keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(cells)))
    fine.set_weights([np.full((5, 5, 1, 4), 0.04), np.full(4, -0.6)])
    coarse.set_weights([np.eye(4)[None, None], np.zeros(4)])
    head.set_weights([np.full((4, 1), 1500.0), np.array([-6.0])])
    return network


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Path:
    """A folder with a model, a manifest, a card, an example, and cases; some mislead the model."""
    home = tmp_path_factory.mktemp("group")
    spotter().save(home / "model.keras")
    (home / "manifest.toml").write_text(MANIFEST.replace("\n[card]", LIMITS), "utf-8")
    (home / "card.md").write_text(CARD, "utf-8")
    save_study(make_study(phantom(31_000, slices=2, size=96)), home / "example")
    draw_cases(home / "cases")
    return home


def draw_cases(home: Path) -> None:
    random = np.random.default_rng(3)
    for folder in ("images", "masks"):
        (home / folder).mkdir(parents=True)
    rows = []
    for number in range(CASES):
        image = random.normal(60, 8, (SIDE, SIDE))
        mask = disc((random.integers(14, 40), random.integers(14, 82)))
        brighter = disc((80, int(random.integers(14, 82)))) if number % 3 == 0 else mask
        image[mask] += 30
        image[brighter] += 140
        name = f"{number:02}"
        Image.fromarray(image.clip(0, 255).astype("u1")).save(home / "images" / f"{name}.png")
        Image.fromarray((mask * 255).astype("u1")).save(home / "masks" / f"{name}.png")
        rows.append({"id": name, "label": "Spot", "patient": f"p{number // 2}", "spacing_mm": 1})
    for number in range(CASES, CASES + EMPTY):
        image = random.normal(60, 8, (SIDE, SIDE))
        image[disc((40, 40))] += 140 if number % 3 == 0 else random.choice([20, 100])
        Image.fromarray(image.clip(0, 255).astype("u1")).save(home / "images" / f"{number}.png")
        rows.append({"id": number, "label": "", "patient": f"p{number // 2}", "spacing_mm": 1})
    with (home / "data.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def disc(centre) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 49


def in_numbers(manifest: str) -> str:
    """The same model as one that says a number of each image."""
    start, end = manifest.index("[[outputs]]"), manifest.index("[explanation]")
    return manifest[:start] + NUMBER + manifest[end:]


def run(*arguments: object):
    from workers.cli import app

    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def packaged(group):
    """What the command says, and the bundle."""
    output = group / "bundle"
    files = ("--manifest", group / "manifest.toml", "--card", group / "card.md")
    said = run(
        "package", group / "model.keras", *files, "--example", group / "example",
        "--output", output, "--cases", group / "cases",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    return said.output, open_bundle(output)


def test_the_method_and_layer_are_those_that_point_best(packaged):
    said, bundle = packaged
    plan = bundle.manifest.explanation
    assert plan.layer == "fine" or plan.depths > 1
    own = re.search(r" gradcam of the layer that the head reads: (0\.\d+) of", said)
    assert own is not None
    assert float(own[1]) < 0.3  # four cells name no place


def test_a_costly_method_is_compared_and_not_taken_for_a_draw(packaged):
    said, bundle = packaged
    costly = re.search(r" integrated-gradients: (0\.\d+) of (\d+) maps", said)
    assert costly is not None
    assert float(costly[1]) > 0.4
    assert int(costly[2]) == CASES / 2
    assert bundle.manifest.explanation.method != "integrated-gradients"


def test_its_probabilities_are_calibrated_and_leave_open_what_they_must(packaged):
    said, bundle = packaged
    (target,) = bundle.manifest.targets
    assert target.temperature > 2  # it was far too sure of cases that only look so
    assert target.conformal.coverage == 0.9
    assert f"temperature of {target.temperature:g}" in " ".join(said.split())
    rows = {row.name: row for row in bundle.manifest.card.performance}
    error = rows["Brier score"]
    assert error.low < error.value < rows["Brier score before packaging"].value
    assert {"Calibration error (ECE)", "Calibration error (ECE) before packaging"} <= {*rows}
    held = rows["Open answers hold the truth, Spot present (90 % stated)"]
    assert held.low < held.value
    assert held.cases == CASES / 2


def test_images_unlike_those_of_the_cases_are_noticed(packaged):
    """Learnt of cases without masks, too."""
    from explain.outliers import Known
    from workers.bundle import reference_of

    known = Known.of(reference_of(packaged[1]))
    assert known is not None
    assert len(known.points) == (CASES + EMPTY) / 2
    row = next(r for r in packaged[1].manifest.card.performance if "out of it" in r.name)
    assert row.cases == (CASES + EMPTY) / 2


def test_the_card_says_what_was_measured_beside_what_a_person_wrote(packaged):
    card = (packaged[1].path / "card.md").read_text("utf-8")
    performance = card[card.index("## Performance") : card.index("## Limits")]
    assert performance.startswith("## Performance\nNot measured.\n### Measured at packaging")
    for row in packaged[1].manifest.card.performance:
        assert f"\n| {row.name} | " in performance


def test_packaging_again_writes_each_figure_once(packaged, group):
    from workers.card import MEASURED, completed
    from workers.training.measures import Figure, Measured
    from workers.training.settled_text import written

    text = (packaged[1].path / "manifest.toml").read_text("utf-8")
    data = packaged[1].manifest.card.performance[0].data
    new = [Measured({"Brier score": Figure(0.5, 0.4, 0.6, 9)}, data)]
    rows = tomllib.loads(written(text, packaged[1].manifest, new))["card"]["performance"]
    assert [row["value"] for row in rows if row["name"] == "Brier score"] == [0.5]
    assert len(rows) == len(packaged[1].manifest.card.performance)
    card = completed((packaged[1].path / "card.md").read_text("utf-8"), "Anew: 1 (0 to 2)")
    assert card.count(MEASURED) == 1
    assert "Anew" in card[: card.index("## Limits")]


def test_what_the_author_set_for_check_and_verdict_stays(packaged):
    plan = packaged[1].manifest.explanation
    assert (plan.check.margin, plan.check.similar) == (0.45, 0.2)
    assert plan.check.cases == CASES / 2
    assert (plan.verdict.reliable, plan.verdict.not_reliable) == (0.95, 0.4)


def test_a_method_that_costs_many_passes_has_features_with_its_answers_too(group):
    """Of the layer that the head reads: what is unlike the cases is noticed all the same."""
    from workers.keras_model import KerasModel
    from workers.training.text import parse

    images = np.random.default_rng(0).random((3, SIDE, SIDE, 1), np.float32)
    plain = KerasModel(parse(MANIFEST), spotter()).predict(images)
    for method in ("occlusion", "none"):
        costly = MANIFEST.replace('method = "gradcam"', f'method = "{method}"')
        said = KerasModel(parse(costly), spotter()).predict(images)
        assert said.attribution is None
        np.testing.assert_allclose(said.features, plain.features, rtol=1e-5)
        np.testing.assert_allclose(said.logits, plain.logits, rtol=1e-5)


def test_cases_without_masks_calibrate_a_model_whose_maps_they_cannot_measure(group):
    from workers.training.dataset import read_data
    from workers.training.masked import Cases
    from workers.training.settle import settle

    bare = [replace(each, mask=None) for each in read_data(group / "cases")]
    settled = settle(MANIFEST, spotter(), Cases(bare), "spots")
    written = tomllib.loads(settled.manifest)
    assert written["outputs"][0]["targets"][0]["temperature"] > 2
    assert written["explanation"] == tomllib.loads(MANIFEST)["explanation"]
    assert any("No map was measured: there are masks of 0 patients" in n for n in settled.notes)


def test_labels_that_the_model_does_not_know_are_refused(group):
    from dicom_node.domain.errors import ConfigurationError
    from workers.training.dataset import read_data
    from workers.training.masked import Cases
    from workers.training.settle import settle

    cases = [replace(each, labels=frozenset({"Spoot"})) for each in read_data(group / "cases")]
    with pytest.raises(ConfigurationError, match="rename them in the table"):
        settle(MANIFEST, spotter(), Cases(cases), "spots")


def test_the_bundle_says_how_its_maps_did_against_maps_that_know_nothing(packaged):
    check = packaged[1].manifest.explanation.check
    assert check is not None
    assert 0.4 < check.hits < 1
    assert check.centre < 0.2
    assert check.shuffled is not None


def test_a_verdict_is_fitted_and_measured_on_other_patients(packaged):
    _, bundle = packaged
    assert bundle.manifest.explanation.verdict is not None
    figures = {row.name: row for row in bundle.manifest.card.performance}
    assert figures["Maps called reliable that hit"].cases <= CASES / 2
    assert all(row.data.startswith("cases: ") for row in figures.values())


def test_what_a_person_wrote_stays(packaged):
    text = (packaged[1].path / "manifest.toml").read_text("utf-8")
    assert "# a person's own words stay" in text
    assert tomllib.loads(text)["preprocess"] == tomllib.loads(MANIFEST)["preprocess"]


def test_check_says_which_method_hits_more_than_the_bundles_own(group):
    from workers.packaging import package

    files = sorted((group / "example").iterdir())
    package(group / "plain", spotter(), MANIFEST, CARD, files)
    said = run("check", group / "plain", "--cases", group / "cases", "--json")
    assert "methods by their hits" in said.output
    assert "package it with these cases" in said.output
    assert said.exit_code == 1  # its maps are no evidence
    assert "these maps are no evidence" in said.output


def test_check_measures_a_bundle_that_was_settled_and_finds_no_better_method(packaged, group):
    said = run("check", packaged[1].path, "--cases", group / "cases", "--json")
    lines = {line["what"]: line for line in json.loads(said.stdout)}
    assert lines["methods by their hits"]["health"] == "ok"
    assert lines["methods by their hits"]["found"].count("(its own)") == 1
    assert "shuffled labels" in lines["maps of the cases"]["found"]


def test_masks_of_too_few_patients_settle_nothing(group, tmp_path):
    for name in ("images", "masks"):
        copytree(group / "cases" / name, tmp_path / "few" / name)
    lines = (group / "cases" / "data.csv").read_text().splitlines()[:5]
    (tmp_path / "few" / "data.csv").write_text("\n".join(lines))
    from dicom_node.domain.errors import ConfigurationError

    files = ("--manifest", group / "manifest.toml", "--card", group / "card.md")
    with pytest.raises(ConfigurationError, match="at least 4"):
        run(
            "package", group / "model.keras", *files, "--example", group / "example",
            "--output", tmp_path / "b", "--cases", tmp_path / "few",
        )  # fmt: skip


def test_the_maps_of_a_number_are_settled_on_masks_of_what_it_measures(group):
    from workers.training.dataset import read_data
    from workers.training.masked import Cases
    from workers.training.settle import settle

    manifest = in_numbers(MANIFEST).replace('task = "classification"', 'task = "regression"')
    settled = settle(manifest, spotter(), Cases(read_data(group / "cases")), "spots")
    plan = tomllib.loads(settled.manifest)["explanation"]
    assert plan.get("layer") == "fine" or plan["depths"] > 1
    assert 0.4 < plan["check"]["hits"] < 1
    assert plan["check"]["cases"] == CASES / 2  # each has its number
    assert {"region_drop", "shift"} <= {each["name"] for each in plan["verdict"]["numbers"]}

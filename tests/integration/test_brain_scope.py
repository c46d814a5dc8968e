"""What is no contrast T1 MR of the brain is refused or flagged by brain-mr-tumour, and little else.

Goal: at least 0.95 of it, at 0.05 false alarms.
"""

from collections import Counter

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.progress import silent

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(1200)]
NOTICED = "Series out of scope that are refused or flagged"
ALONE = "Series out of scope that are flagged by their images alone"
ALARMS = "Images in scope that are flagged as out of it"


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(next(p for p in shipped_bundles() if p.name == "brain-mr-tumour"))


@pytest.fixture(scope="module")
def model(bundle):
    from workers.loading import load_model

    return load_model(bundle)


@pytest.mark.shared
def test_foreign_series_are_noticed_by_rules_and_score_and_by_the_score_alone(
    model, bundle, shared_data
):
    from workers.training.brain.measuring import PHANTOM, kind
    from workers.training.evaluation.scope import foreign, scope

    found = list(foreign(model, shared_data, silent))
    kinds = Counter(each.modality for each in found)
    assert {"CT", "MR", "CR", "US", "DX"} <= kinds.keys()
    measured = scope(np.zeros(1), found, np.zeros(1, int))
    assert measured.noticed.cases >= 90
    assert measured.noticed.value >= 0.95
    readable = [each for each in found if len(each.scores)]
    assert len(readable) == measured.alone.cases >= 20
    assert measured.alone.value >= 0.95
    images = np.concatenate([each.scores for each in readable])
    assert len(images) >= 100
    assert (images > 1).mean() >= 0.95
    rows = {row.title: row for row in bundle.manifest.card.performance}
    made = 20  # phantoms, which the card counts, too
    assert rows[NOTICED].cases == measured.noticed.cases + made
    assert rows[ALONE].cases == measured.alone.cases + made
    assert rows[NOTICED].value >= 0.95
    counted = Counter(kind(bundle.manifest.selection, each) for each in found)
    assert counted["another modality"] >= 70
    assert sum(count for name, count in counted.items() if name != "another modality") >= 15
    assert {name: rows[f"{NOTICED} ({name})"].cases for name in counted} == counted
    assert rows[f"{NOTICED} ({PHANTOM})"].cases == made


@pytest.mark.shared
def test_few_slices_that_it_is_for_are_taken_for_others(model, bundle, shared_data):
    from workers.training.brain.data import CHENG_MM, read_folds
    from workers.training.evaluation.scope import known_to, scores
    from workers.training.reading import read_images

    _, choosing = read_folds(shared_data / "brain-tumour-cheng")
    known, chosen = known_to(model), choosing[::4]
    found = [scores(model, known, read_images(example, CHENG_MM)) for example in chosen]
    alarms = np.concatenate(found) > 1
    assert len(alarms) == len(chosen) >= 150
    assert alarms.mean() <= 0.05
    (row,) = [row for row in bundle.manifest.card.performance if row.name == ALARMS]
    assert row.value <= 0.05
    assert row.cases == len(choosing)


def test_rules_and_unreadable_pixels_count_and_what_holds_no_images_does_not(model, tmp_path):
    from workers.training.brain.example import HEADERS
    from workers.training.evaluation.scope import foreign

    made = phantom(3, slices=2, size=64)
    save_study(make_study(made), tmp_path / "ct")
    save_study(make_study(made, attributes=HEADERS), tmp_path / "mr")
    broken = make_study(made, attributes=HEADERS)
    for instance in broken:
        instance.PixelData = instance.PixelData[:100]
    save_study(broken, tmp_path / "broken")
    report = make_study(made, attributes={"Modality": "SR"})[0]
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    save_study([report], tmp_path / "report")
    found = {(each.modality, len(each.scores)): each for each in foreign(model, tmp_path, silent)}
    assert sorted(found) == [("CT", 2), ("MR", 0), ("MR", 2)]
    assert {key: each.refused for key, each in found.items()} == {
        ("CT", 2): True,
        ("MR", 0): True,
        ("MR", 2): False,  # its headers say what the rules want: the images alone speak
    }
    assert found["MR", 2].flagged


def test_an_evaluation_tells_how_series_out_of_scope_were_answered(bundle, tmp_path):
    import csv

    from PIL import Image

    from workers.training.evaluation.run import Question, run

    home = tmp_path / "data"
    home.mkdir()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(home / "1.png")
    with (home / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([("image", "label", "patient"), ("1.png", "Glioma", "a")])
    save_study(make_study(phantom(3, slices=2, size=64)), tmp_path / "ct")
    question = Question(home, spacing_mm=4.0, out_of_scope=tmp_path / "ct")
    figures = run(bundle, question, tmp_path / "page.html", silent)
    assert (figures[NOTICED].value, figures[NOTICED].cases) == (1, 1)
    assert (figures[ALARMS].value, figures[ALARMS].cases) == (1, 1)  # a black image
    assert NOTICED in (tmp_path / "page.html").read_text("utf-8")

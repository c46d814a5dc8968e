"""The recipe of brain-mr-tumour makes a bundle, and goes on where it was stopped."""

import csv
import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dicom_node.domain.errors import ConfigurationError
from workers.progress import silent

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
SIDE, MM = 96, 2.6
NAMES = ("meningioma", "glioma", "pituitary")


def made_slice(rng):
    """A bright ellipse with a brighter spot, and the spot's mask."""
    rows, columns = (axis - SIDE / 2 for axis in np.ogrid[:SIDE, :SIDE])
    head = np.hypot(rows / 40, columns / 32) < 1
    place = rng.uniform(-12, 12, 2)
    spot = np.hypot(rows - place[0], columns - place[1]) < rng.uniform(5, 9)
    image = 60.0 * head + 120 * spot + rng.normal(0, 5, head.shape)
    return np.clip(ndimage.gaussian_filter(image, 1), 0, 255).astype(np.uint8), spot & head


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three slices in each of the folds 1 and 4."""
    folder = tmp_path_factory.mktemp("data")
    rng, rows = np.random.default_rng(0), []
    for number in range(6):
        image, mask = made_slice(rng)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}-mask.png")
        rows.append(
            {
                "image": f"{number}.png",
                "mask": f"{number}-mask.png",
                "name": NAMES[number % 3],
                "fold": "1" if number < 3 else "4",
                "spacing_mm": MM,
            }
        )
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


class Stopped(Exception):
    pass


def stop_in_the_middle(what, part):
    if what == "training" and part > 0.5:
        raise Stopped


def test_a_stopped_training_goes_on_to_the_same_weights_that_are_measured_anew_alike(
    tmp_path, data, monkeypatch
):
    import keras

    from workers.training import shuffled
    from workers.training.brain import fit, recipe
    from workers.training.brain.any_tumour import SUBGROUP
    from workers.training.brain.data import collect, read_folds

    monkeypatch.setattr(fit, "SAVE_EVERY", 1)
    monkeypatch.setattr(shuffled, "STEPS", 3)
    with pytest.raises(Stopped):
        recipe.train_brain(
            tmp_path / "out", data, tmp_path / "a", steps=3, progress=stop_in_the_middle
        )
    bundle = recipe.train_brain(tmp_path / "out", data, tmp_path / "a", steps=3)
    slices, choosing = (collect(each, silent) for each in read_folds(data))
    fitted = fit.fit(slices, choosing, steps=3, seed=0, folder=tmp_path / "b", progress=silent)
    loaded = keras.saving.load_model(bundle.path / "model.keras")
    for ours, theirs in zip(loaded.get_weights(), fitted.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (bundle.path / "model.keras").stat().st_size < 8e6
    card = (bundle.path / "card.md").read_text("utf-8")
    names = [row.name for row in bundle.manifest.card.performance]
    assert names[:2] == ["Cases called right", "Calibration error (ECE)"]
    assert {"Heat map's place in the mask", "Series out of scope that are refused or flagged"} < {
        *names
    }
    assert f"Sensitivity ({SUBGROUP})" in {row.title for row in bundle.manifest.card.performance}
    assert re.search(r"Training took \d+ minutes on \d+ processor cores", card)
    assert bundle.manifest.explanation.check.cases >= 1
    assert "CC BY 4.0" in card
    again = recipe.measure_again(tmp_path / "again", bundle, data)
    assert again.manifest == bundle.manifest


def test_data_without_a_choosing_fold_is_refused(tmp_path, data):
    from workers.training.brain.data import read_folds

    for file in data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = (data / "data.csv").read_text()
    (tmp_path / "data.csv").write_text(table.replace(",4,", ",1,"))
    with pytest.raises(ConfigurationError, match="folds 1 to 3"):
        read_folds(tmp_path)

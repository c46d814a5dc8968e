"""The small bundles say on this machine what they said where they were packaged."""

import json
import subprocess
import sys

import numpy as np
import pytest
from task_results import BUNDLES

from dicom_node.catalog import GOLDEN_EXPECTED, GOLDEN_INPUT, WEIGHTS, open_bundle, shipped_bundles
from workers.arrays import read_arrays
from workers.golden import TOLERANCE, differences

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = sorted(path.name for path in BUNDLES.iterdir())
MOST_BYTES = 100_000
"""Of the golden files of one bundle."""


@pytest.mark.parametrize(
    "path", [*shipped_bundles(), *map(BUNDLES.joinpath, NAMES)], ids=lambda path: path.name
)
def test_check_finds_the_golden_test_passed_and_the_resources_as_the_manifest_says(path):
    """In a process of its own: what the tests before it took is no need of the bundle."""
    command = [sys.executable, "-m", "workers", "check", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = json.loads(done.stdout)
    golden = [line for line in lines if line["what"].startswith("golden test, ")]
    assert golden, "there are no golden files"
    assert {line["health"] for line in golden} == {"ok"}
    needs = {line["what"]: line["health"] for line in lines}
    assert (needs["time"], needs["peak memory"]) == ("ok", "ok")
    assert (done.returncode, [line for line in lines if line["health"] == "bad"]) == (0, [])


def test_weights_that_were_changed_fail_the_golden_test():
    """So that the one above means something."""
    import keras

    from workers.keras_model import KerasModel

    bundle = open_bundle(BUNDLES / "qa-diameter")
    network = keras.saving.load_model(bundle.path / WEIGHTS, compile=False)
    before = dict(differences(bundle, KerasModel(bundle.manifest, network)))
    network.set_weights([each * 1.2 for each in network.get_weights()])
    after = dict(differences(bundle, KerasModel(bundle.manifest, network)))
    assert max(before.values()) <= TOLERANCE < min(after.values())


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_are_small_and_hold_what_a_phantom_shows(name):
    files = [BUNDLES / name / file for file in (GOLDEN_INPUT, GOLDEN_EXPECTED)]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert np.ptp(read_arrays(files[0])["pixels"]) > 500

"""A file that is packaged with cases is refused for all that a bundle is refused for."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import pytest

from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from workers.bundle import write_bundle
from workers.training.phantom_text import manifest_text

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

WEIGHTS = "model.weights.h5"
MEMBERS = ("metadata.json", "config.json", WEIGHTS)


def saved(folder: Path) -> dict[str, bytes]:
    """The members of a sound file."""
    image = keras.Input((8, 8, 1))
    head = keras.layers.Dense(1, name="head")(keras.layers.Flatten()(image))
    keras.Model(image, head).save(folder / "sound.keras")
    with zipfile.ZipFile(folder / "sound.keras") as archive:
        return {name: archive.read(name) for name in MEMBERS}


def packed(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(folder: Path, change) -> dict[str, bytes]:
    """With a layer's configuration changed by a function."""
    members = saved(folder)
    config = json.loads(members["config.json"])
    change(config["config"]["layers"][-1])
    return {**members, "config.json": json.dumps(config).encode()}


def code_of_its_own(folder: Path) -> dict[str, bytes]:
    return changed(folder, lambda layer: layer.update(class_name="Lambda"))


def a_custom_object(folder: Path) -> dict[str, bytes]:
    return changed(folder, lambda layer: layer.update(registered_name="mine>Dense"))


def no_such_layer(folder: Path) -> dict[str, bytes]:
    return changed(folder, lambda layer: layer.update(class_name="Nothing"))


def another_member(folder: Path) -> dict[str, bytes]:
    return {**saved(folder), "assets/evil.py": b""}


def a_bomb(folder: Path) -> dict[str, bytes]:
    return {**saved(folder), WEIGHTS: bytes(32 << 20)}


def more_than_its_weights(folder: Path) -> dict[str, bytes]:
    return changed(folder, lambda layer: layer["config"].update(units=10**8))


def weights_elsewhere(folder: Path) -> dict[str, bytes]:
    members = saved(folder)
    with h5py.File(folder / "linked.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(folder / "other.h5"), "/secret")
    return {**members, WEIGHTS: (folder / "linked.h5").read_bytes()}


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (code_of_its_own, "BUNDLE_CODE"),
        (a_custom_object, "BUNDLE_CODE"),
        (no_such_layer, "BUNDLE_CODE"),
        (another_member, "BUNDLE_CODE"),
        (a_bomb, "BUNDLE_SIZE"),
        (more_than_its_weights, "BUNDLE_WEIGHTS"),
        (weights_elsewhere, "BUNDLE_WEIGHTS"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_what_loading_a_bundle_refuses_is_refused_with_the_same_code(tmp_path, make, code):
    from workers.loading import load_model
    from workers.training.settle import load_network

    path = packed(tmp_path / "model.keras", make(tmp_path))
    with pytest.raises(CorruptBundle) as alone:
        load_network(path)
    bundle = write_bundle(tmp_path / "bundle", manifest_text(), path, "# A card\n")
    with pytest.raises(CorruptBundle) as bundled:
        load_model(bundle)
    assert (alone.value.code, bundled.value.code) == (code, code)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_hdf5_is_refused_whatever_it_is_called(tmp_path, name):
    from workers.training.settle import load_network

    with h5py.File(tmp_path / name, "w") as file:
        file["kernel"] = [1.0]
    with pytest.raises(CorruptBundle, match="HDF5, SavedModel and pickles") as refused:
        load_network(tmp_path / name)
    assert refused.value.code == "BUNDLE_CODE"


def test_an_estimator_has_nothing_to_settle_and_is_told_so(tmp_path):
    from workers.training.settle import load_network

    (tmp_path / "model.skops").write_bytes(b"any")
    with pytest.raises(ConfigurationError, match="without cases"):
        load_network(tmp_path / "model.skops")


def test_both_halves_have_patients_of_each_kind_in_whatever_order_they_come():
    from workers.training.dataset import Example
    from workers.training.masked import Cases

    there, nothing = frozenset({"Nodule"}), frozenset()
    examples = [
        Example(str(n), Path("x"), (there, nothing)[n % 2], "1", f"p{n // 2 * 2 + n % 2}")
        for n in range(16)
    ]
    masked = [Example("m", Path("x"), there, "1", f"m{n}", mask=Path("m")) for n in range(4)]
    halves = Cases([*examples, *masked]).halves()
    for half in halves:
        assert sum(bool(each.labels) for each in half.examples) == 6
        assert len(half.with_masks.examples) == 2
    assert not {*halves[0].patients} & {*halves[1].patients}

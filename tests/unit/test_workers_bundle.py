"""A bundle is what its checksums say, in a plain folder, and brings no code along."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import analyses
import h5py
import numpy as np
import pytest
from damaged_zip import encrypted, torn
from log_lines import log_lines
from pydantic import ValidationError

import workers.bundles
from dicom_node.catalog import (
    CHECKED,
    CLASSICAL,
    SIGNATURE,
    SUMS,
    Catalog,
    configured,
    open_bundle,
    shipped_bundles,
)
from dicom_node.doctor import Health, examine
from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from dicom_node.settings.models import Models
from dicom_node.settings.node import Settings
from workers.bundle import Golden, refuse_code, write_bundle
from workers.training.phantom_text import manifest_text
from workers.weights import refuse_weights

FILES = sorted(CHECKED - {CLASSICAL} | {SUMS})
STOCK = {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": None}


def keras_file(path: Path, layer: dict[str, object] = STOCK, extra: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"config": {"layers": [layer]}}))
        archive.writestr("model.weights.h5", b"weights")
        for name in extra:
            archive.writestr(name, b"")
    return path


def activated(module: str | None, name: str, config: object) -> dict[str, object]:
    """A stock layer with something else as its activation."""
    activation = {"module": module, "class_name": name, "config": config, "registered_name": None}
    return {**STOCK, "config": {"activation": activation}}


@pytest.fixture
def bundle(tmp_path) -> Path:
    weights = keras_file(tmp_path / "weights.keras")
    arrays = {"mean": np.arange(4.0)}
    return write_bundle(
        tmp_path / "bundle", manifest_text(), weights, "# A card\n", arrays, Golden(arrays, arrays)
    ).path


def code_of(path: Path) -> str:
    with pytest.raises(CorruptBundle) as caught:
        open_bundle(path)
    return caught.value.code


def test_a_written_bundle_opens_with_the_hash_of_its_checksums(bundle):
    opened = open_bundle(bundle)
    assert opened.id == "phantom-lesion@1.0.0"
    assert opened.sha256 == hashlib.sha256((bundle / SUMS).read_bytes()).hexdigest()
    files = (path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert sorted(map(str, files)) == FILES


def test_a_bundle_needs_no_reference_and_no_golden_files(tmp_path):
    weights = keras_file(tmp_path / "weights.keras")
    bundle = write_bundle(tmp_path / "bundle", manifest_text(), weights, "# A card\n")
    assert open_bundle(bundle.path) == bundle


def test_nothing_of_an_earlier_bundle_stays_in_the_folder(bundle, tmp_path):
    """Another network would be judged by what the one before it had learnt."""
    (bundle / SIGNATURE).write_bytes(b"of the earlier one")
    model = tmp_path / "estimators.skops"
    model.write_bytes(b"any")
    write_bundle(bundle, manifest_text(), model, "# A card\n")
    files = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file())
    assert files == [SUMS, "card.md", "manifest.toml", CLASSICAL]


def test_a_classical_model_stands_in_place_of_the_network(tmp_path):
    model = tmp_path / "estimators.skops"
    model.write_bytes(b"any")
    bundle = write_bundle(tmp_path / "bundle", manifest_text(), model, "# A card\n")
    assert (bundle.path / CLASSICAL).read_bytes() == b"any"
    (bundle.path / "model.keras").write_bytes(b"another")
    assert code_of(bundle.path) == "BUNDLE_PATH"


def test_the_checksums_are_those_of_sha256sum(bundle):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=bundle, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted({*FILES} - {SUMS}))
def test_72_one_changed_byte_is_noticed(bundle, name):
    with (bundle / name).open("ab") as file:
        file.write(b"\n")
    assert code_of(bundle) == "SIGNATURE"


@pytest.mark.parametrize("name", FILES)
def test_72_a_missing_file_is_noticed(bundle, name):
    (bundle / name).unlink()
    assert code_of(bundle) == "SIGNATURE"


def test_72_a_checksum_left_out_is_noticed(bundle):
    lines = (bundle / SUMS).read_text().splitlines()[:-1]
    (bundle / SUMS).write_text("\n".join(lines) + "\n")
    assert code_of(bundle) == "SIGNATURE"


@pytest.mark.parametrize("name", ["extra.py", ".hidden", "weights.h5"])
def test_73_an_extra_file_is_refused(bundle, name):
    (bundle / name).write_bytes(b"")
    assert code_of(bundle) == "BUNDLE_PATH"


def test_73_an_extra_folder_is_refused(bundle):
    (bundle / "assets").mkdir()
    assert code_of(bundle) == "BUNDLE_PATH"


@pytest.mark.parametrize("name", FILES)
def test_73_a_link_is_refused(bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "moved")
    (bundle / name).symlink_to(tmp_path / "moved")
    assert code_of(bundle) == "BUNDLE_PATH"


def test_73_a_link_to_a_golden_folder_is_refused(bundle, tmp_path):
    (bundle / "golden").rename(tmp_path / "golden")
    (bundle / "golden").symlink_to(tmp_path / "golden")
    assert code_of(bundle) == "BUNDLE_PATH"


def test_73_a_file_too_many_beside_the_golden_ones_is_refused(bundle):
    (bundle / "golden" / "more.npz").write_bytes(b"")
    assert code_of(bundle) == "BUNDLE_PATH"


@pytest.mark.parametrize("name", ["../manifest.toml", "/etc/passwd", "a/b"])
def test_73_a_checksum_of_a_file_elsewhere_is_refused(bundle, name):
    with (bundle / SUMS).open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    assert code_of(bundle) == "BUNDLE_PATH"


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert code_of(tmp_path / "nowhere") == "BUNDLE_PATH"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("threshold =", "treshold =", r"targets\.0\.treshold: there is no such key"),
        ("training_data = ", "# ", r"card\.training_data: is missing; add it"),
        ('step = "fit"', 'step = "fti"', "'fit'"),
        ("width = 400", "width = -1", "preprocess.0.window.width"),
        ('located_by = "Lesion"', 'located_by = "Liver"', "located_by"),
        ("schema_version = 1", "schema_version = 9", "schema_version"),
        ("[card]", "[card", "TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_key(tmp_path, old, new, key):
    text = manifest_text().replace(old, new)
    with pytest.raises(CorruptBundle, match=key):
        write_bundle(tmp_path / "bundle", text, keras_file(tmp_path / "w.keras"), "")


@pytest.mark.parametrize(
    ("unit", "kind", "remedy"),
    [
        ("sequence", "segmentation", "slice or volume"),
        ("views", "segmentation", "slice or volume"),
        ("views", "image", "slice or volume"),
        ("volume", "detection", "slice"),
    ],
)
def test_what_is_drawn_on_an_image_is_not_asked_of_several_at_once(unit, kind, remedy):
    drawn = {
        "segmentation": {"segments": [analyses.segment()]},
        "image": {"derivation": {"value": "1", "scheme": "S", "meaning": "M"}, "description": "d"},
        "detection": {"boxes": "b", "targets": [analyses.target(located_by=None)]},
    }
    views = {"views": [{"name": "cc", "rules": [{"keyword": "ViewPosition", "equals": "CC"}]}]}
    asked = {
        "outputs": [{"kind": kind, "layer": "l", **drawn[kind]}],
        "input": {
            "unit": unit,
            "shape": [64, 64, 1] if unit == "views" else [8, 64, 64, 1],
            **(views if unit == "views" else {}),
        },
    }
    with pytest.raises(ValidationError, match=f"a {kind} is drawn on single images.*{remedy}"):
        analyses.manifest(**asked)


def test_a_catalog_finds_by_name_and_version(bundle):
    catalog = Catalog.open([bundle])
    assert catalog.find("phantom-lesion@1.0.0").path == bundle
    with pytest.raises(ConfigurationError, match=r"phantom-lesion@1\.0\.0"):
        catalog.find("phantom-lesion@2.0.0")


def test_a_bundle_that_cannot_be_trusted_is_named_and_stops_no_other(tmp_path, bundle):
    """Catalogue cases 72 to 75: the line in the log, and what the doctor says."""
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "card.md").write_text("another card")
    models = Models(paths=(bundle, broken), reference=False)
    with log_lines() as lines:
        assert [b.path for b in configured(models).bundles] == [bundle]
    (line,) = lines
    assert (line["event"], line["reason"], line["model"]) == (
        "bundle.reject", "SIGNATURE", "broken"
    )  # fmt: skip
    settings = Settings(models=models, data_dir=tmp_path)
    said = {c.health for c in examine(settings) if c.what == "model"}
    assert said == {Health.OK, Health.BAD}


def test_a_catalog_refuses_one_id_twice(bundle):
    with pytest.raises(ConfigurationError, match="version"):
        Catalog.open([bundle, bundle])


@pytest.mark.parametrize(
    "layer",
    [
        {**STOCK, "class_name": "Lambda"},
        {**STOCK, "class_name": "TFSMLayer"},
        {**STOCK, "module": "os", "class_name": "function", "config": "system"},
        {**STOCK, "module": "builtins", "class_name": "function", "config": "eval"},
        {**STOCK, "module": None, "registered_name": "mine>Layer", "class_name": "Layer"},
        {**STOCK, "config": {"activation": {"class_name": "__lambda__", "config": {}}}},
        {**STOCK, "config": {"nested": [{"module": "mine", "class_name": "Block"}]}},
        activated("keras.utils", "function", "get_file"),
        activated("keras.saving", "function", "load_model"),
        activated("keras.config", "function", "enable_unsafe_deserialization"),
        activated("keras.utils", "get_file", {"fname": "x", "origin": "http://x.invalid/x"}),
        activated("keras.models", "load_model", {"filepath": "/tmp/other.keras"}),
        activated("keras.layers", "deserialize", {}),
        activated("keras.src.saving.saving_lib", "H5IOStore", {}),
        activated(None, "__typespec__", {}),
        {**STOCK, "class_name": "StringLookup", "config": {"vocabulary": "/etc/hostname"}},
    ],
    ids=[
        *("lambda", "tfsm", "os", "builtin", "registered", "lambda activation", "nested"),
        *("get_file", "load_model", "unsafe", "get_file class", "load_model class"),
        *("deserialize", "store", "typespec", "vocabulary of a file"),
    ],
)
def test_74_code_in_a_model_is_refused(tmp_path, layer):
    with pytest.raises(CorruptBundle) as caught:
        refuse_code(keras_file(tmp_path / "model.keras", layer))
    assert caught.value.code == "BUNDLE_CODE"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.layers", "StringLookup"),
        ("keras.src.models.functional", "Functional"),
        ("keras", "Sequential"),
        ("keras", "DTypePolicy"),
        ("keras.src.ops.numpy", "Add"),
        ("keras.optimizers.schedules", "CosineDecay"),
        ("keras.random", "SeedGenerator"),
        (None, "__keras_tensor__"),
    ],
)
def test_what_networks_are_made_of_is_taken(tmp_path, module, name):
    refuse_code(keras_file(tmp_path / "model.keras", activated(module, name, {"vocabulary": []})))


@pytest.mark.parametrize("name", ["../evil.py", "assets/vocabulary.txt"])
def test_73_other_members_are_refused(tmp_path, name):
    with pytest.raises(CorruptBundle, match="members"):
        refuse_code(keras_file(tmp_path / "model.keras", extra=(name,)))


@pytest.mark.parametrize("data", [b"\x89HDF\r\n\x1a\n", b"\x80\x04pickle", b""])
def test_74_other_formats_are_refused(tmp_path, data):
    path = tmp_path / "model.keras"
    path.write_bytes(data)
    with pytest.raises(CorruptBundle, match="Keras 3"):
        refuse_code(path)


def test_73_a_member_that_unpacks_beyond_any_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.bundle.MAX_BYTES", 1 << 20)
    path = keras_file(tmp_path / "model.keras")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(CorruptBundle) as caught:
        refuse_code(path)
    assert caught.value.code == "BUNDLE_SIZE"


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_73_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, bytes(32 << 20) if name == member else b"{}")
    assert (tmp_path / "model.keras").stat().st_size < 1 << 20
    with pytest.raises(CorruptBundle, match="unpacks to") as caught:
        refuse_code(tmp_path / "model.keras")
    assert caught.value.code == "BUNDLE_SIZE"


@pytest.mark.parametrize("damage", [encrypted, torn], ids=["encrypted", "torn"])
def test_74_a_file_that_cannot_be_unpacked_is_refused(tmp_path, damage):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptBundle, match="Keras 3"):
        refuse_code(path)


def test_73_a_config_that_nests_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
        archive.writestr("config.json", "[" * 100_000)
    with pytest.raises(CorruptBundle):
        refuse_code(tmp_path / "model.keras")


def test_73_a_manifest_that_nests_without_end_or_is_a_flood_is_refused(bundle):
    for text, code in (("a = " + "[" * 100_000, "BUNDLE"), ("#" * (2 << 20), "BUNDLE_SIZE")):
        (bundle / "manifest.toml").write_text(text)
        names = [name for name in FILES if name != SUMS]
        sums = subprocess.run(["sha256sum", *names], cwd=bundle, capture_output=True, check=True)
        (bundle / SUMS).write_bytes(sums.stdout)
        assert code_of(bundle) == code


def test_74_a_saved_model_in_place_of_the_network_is_refused(bundle):
    (bundle / "model.keras").unlink()
    (bundle / "model.keras" / "variables").mkdir(parents=True)
    (bundle / "model.keras" / "saved_model.pb").write_bytes(b"")
    assert code_of(bundle) == "BUNDLE_PATH"


def huge(file, _):
    file.create_dataset("layers/kernel", (1 << 40,), "f4", chunks=(1024,))


def external_link(file, other):
    file["layers"] = h5py.ExternalLink(str(other), "/secret")


def soft_link(file, _):
    file["layers"] = h5py.SoftLink("/elsewhere")


def external_storage(file, other):
    file.create_dataset("kernel", (4,), "u1", external=[(str(other), 0, 4)])


def virtual(file, other):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", (4,))
    file.create_virtual_dataset("kernel", layout)


def reference(file, _):
    file.create_dataset("kernel", (4,), h5py.ref_dtype)


def one_dataset_by_many_names(file, _):
    file["kernel"] = np.zeros(1000, "f4")
    for number in range(100):
        file[f"kernel{number}"] = file["kernel"]


HOSTILE = [
    huge, external_link, soft_link, external_storage, virtual, reference, one_dataset_by_many_names
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_75_weights_that_reach_beyond_their_file_are_refused(tmp_path, make):
    (tmp_path / "other.h5").write_bytes(b"secret")
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        make(file, tmp_path / "other.h5")
    assert weights_code(tmp_path, (tmp_path / "model.weights.h5").read_bytes()) == "BUNDLE_WEIGHTS"


@pytest.mark.parametrize("data", [b"", b"weights", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_75_weights_that_are_no_hdf5_are_refused(tmp_path, data):
    assert weights_code(tmp_path, data) == "BUNDLE_WEIGHTS"


def test_groups_that_hold_each_other_end(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["a/kernel"] = np.zeros(4, "f4")
        file["a/b"] = file["a"]
    path = with_weights(tmp_path, (tmp_path / "model.weights.h5").read_bytes())
    refuse_weights(path)


def with_weights(folder: Path, data: bytes) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", data)
    return path


def weights_code(folder: Path, data: bytes) -> str:
    with pytest.raises(CorruptBundle) as caught:
        refuse_weights(with_weights(folder, data))
    return caught.value.code


def test_shipped_bundles_are_found_and_verified_without_importing_their_package():
    names = [open_bundle(path).manifest.name for path in shipped_bundles()]
    assert "phantom-lesion" in names
    check = (
        "import sys; from dicom_node.catalog import Catalog, shipped_bundles; "
        "Catalog.open(shipped_bundles()); "
        "assert not {'workers', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_numbers_are_compared_in_parts_of_the_range_that_the_manifest_says():
    """Of slices that all measure 45 mm, or 0.02, there is no range to see."""
    from workers.golden import TOLERANCE, _rounded, spread

    home = Path(workers.bundles.__file__).parent / "tasks" / "qa-diameter"
    said = open_bundle(home).manifest
    (quantity,) = said.regression.quantities
    values = np.full((3, 1), 45.123, np.float32)
    reach = spread("regression", values, said)
    assert reach == pytest.approx([quantity.high - quantity.low])
    assert (np.abs(_rounded(values, reach) - values) / reach).max() < TOLERANCE / 5
    assert spread("classification", values, said) == [1.0]

"""A site that demands signatures takes what its trusted keys signed, and nothing else."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from log_lines import log_lines
from typer.testing import CliRunner

from dicom_node.catalog import SIGNATURE, SUMS, configured, open_bundle, shipped_bundles
from dicom_node.doctor import Health, examine
from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from dicom_node.settings.models import Models
from dicom_node.settings.node import Settings
from dicom_node.signing import Signers, read_private_key
from workers.bundle import sign_bundle
from workers.cli import app
from workers.loading import load_model


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_key(folder: Path, name: str, algorithm: str = "ed25519") -> Path:
    """A private key, and its public half as ``NAME.pub``."""
    openssl("genpkey", "-algorithm", algorithm, "-out", folder / f"{name}.pem")
    openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    return folder / f"{name}.pem"


@pytest.fixture
def bundle(tmp_path) -> Path:
    (shipped,) = [path for path in shipped_bundles() if path.name == "phantom-lesion"]
    return Path(shutil.copytree(shipped, tmp_path / "bundle"))


def change_card(bundle: Path, text: str) -> None:
    """Another card, with checksums to match."""
    (bundle / "card.md").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    sums = (bundle / SUMS).read_text()
    (bundle / SUMS).write_text(re.sub(r"\w+  card.md", f"{digest}  card.md", sums))


def demanding(tmp_path, *bundles: Path) -> Models:
    keys = (tmp_path / "group.pub",)
    return Models(paths=bundles, reference=False, trusted_keys=keys, require_signature=True)


def refusal(bundle: Path, models: Models) -> CorruptBundle:
    with pytest.raises(CorruptBundle) as caught:
        open_bundle(bundle, Signers.read(models.trusted_keys, models.require_signature))
    return caught.value


def test_a_bundle_that_a_trusted_key_signed_is_taken_and_its_signer_named(tmp_path, bundle):
    make_key(tmp_path, "group")
    done = CliRunner().invoke(app, ["sign", str(bundle), "--key", str(tmp_path / "group.pem")])
    assert done.exit_code == 0, done.output
    models = demanding(tmp_path, bundle)
    (found,) = configured(models).bundles
    assert found.signed_by == "group"
    (line,) = [
        check
        for check in examine(Settings(models=models, data_dir=tmp_path))
        if check.what == "model"
    ]
    assert (line.health, line.found.endswith("signed by group")) == (Health.OK, True)


def test_the_signature_is_one_that_openssl_makes_and_reads(tmp_path, bundle):
    key = make_key(tmp_path, "group")
    sign_bundle(bundle, read_private_key(key))
    public = ("-pubin", "-inkey", tmp_path / "group.pub", "-rawin", "-in", bundle / SUMS)
    openssl("pkeyutl", "-verify", *public, "-sigfile", bundle / SIGNATURE)
    private = ("-inkey", key, "-rawin", "-in", bundle / SUMS)
    openssl("pkeyutl", "-sign", *private, "-out", bundle / SIGNATURE)
    assert configured(demanding(tmp_path, bundle)).bundles[0].signed_by == "group"


def test_72_an_unsigned_bundle_is_refused_where_signatures_are_demanded(tmp_path, bundle):
    make_key(tmp_path, "group")
    error = refusal(bundle, demanding(tmp_path, bundle))
    assert (error.code, "not signed" in str(error)) == ("SIGNATURE", True)
    with log_lines() as lines:
        assert configured(demanding(tmp_path, bundle)).bundles == ()
    (line,) = lines
    assert (line["event"], line["reason"]) == ("bundle.reject", "SIGNATURE")


def test_72_a_signature_by_another_key_is_refused(tmp_path, bundle):
    make_key(tmp_path, "group")
    sign_bundle(bundle, read_private_key(make_key(tmp_path, "stranger")))
    error = refusal(bundle, demanding(tmp_path, bundle))
    assert (error.code, "models.trusted_keys" in str(error)) == ("SIGNATURE", True)


def test_72_checksums_changed_after_signing_are_refused(tmp_path, bundle):
    sign_bundle(bundle, read_private_key(make_key(tmp_path, "group")))
    change_card(bundle, "Fit for everything.")
    assert refusal(bundle, demanding(tmp_path, bundle)).code == "SIGNATURE"
    assert open_bundle(bundle).signed_by is None


@pytest.mark.parametrize("size", [0, 63, 65, 5000])
def test_72_a_file_that_is_no_signature_is_refused(tmp_path, bundle, size):
    make_key(tmp_path, "group")
    (bundle / SIGNATURE).write_bytes(bytes(size))
    assert refusal(bundle, demanding(tmp_path, bundle)).code == "SIGNATURE"


def test_a_site_that_demands_nothing_takes_a_bundle_without_signature(bundle):
    (found,) = configured(Models(paths=(bundle,), reference=False)).bundles
    assert found.signed_by is None


@pytest.mark.parametrize("make", ["nothing", "rsa", "private"])
def test_a_trusted_key_that_is_none_stops_with_what_to_do(tmp_path, bundle, make):
    if make == "rsa":
        make_key(tmp_path, "group", "rsa")
    elif make == "private":
        make_key(tmp_path, "group").rename(tmp_path / "group.pub")
    models = demanding(tmp_path, bundle)
    with pytest.raises(ConfigurationError, match="openssl"):
        configured(models)
    bad = [c for c in examine(Settings(models=models, data_dir=tmp_path)) if c.what == "models"]
    assert [check.health for check in bad] == [Health.BAD]


def test_a_key_with_a_passphrase_asks_for_it(tmp_path, bundle):
    key = make_key(tmp_path, "group")
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    command = ["sign", str(bundle), "--key", str(locked)]
    done = CliRunner().invoke(app, command, input="secret\n")
    assert done.exit_code == 0, done.output
    assert configured(demanding(tmp_path, bundle)).bundles[0].signed_by == "group"
    wrong = CliRunner().invoke(app, command, input="guess\n")
    assert isinstance(wrong.exception, ConfigurationError)


def test_a_bundle_that_was_changed_is_not_signed(tmp_path, bundle):
    (bundle / "card.md").write_text("another")
    with pytest.raises(CorruptBundle):
        sign_bundle(bundle, read_private_key(make_key(tmp_path, "group")))
    assert not (bundle / SIGNATURE).exists()


def test_72_a_bundle_that_is_changed_after_it_was_opened_is_not_loaded(bundle):
    opened = open_bundle(bundle)
    kept = (bundle / SUMS).read_text()
    change_card(bundle, "another")
    with pytest.raises(CorruptBundle, match="replaced while the node ran") as caught:
        load_model(opened)
    assert caught.value.code == "SIGNATURE"
    (bundle / SUMS).write_text(kept)
    with pytest.raises(CorruptBundle, match="changed") as caught:
        load_model(opened)
    assert caught.value.code == "SIGNATURE"


def test_a_folder_is_no_key(tmp_path, bundle):
    done = CliRunner().invoke(app, ["sign", str(bundle), "--key", str(tmp_path)])
    assert isinstance(done.exception, ConfigurationError)
    assert "no private key could be read" in str(done.exception)
    assert not (bundle / SIGNATURE).exists()

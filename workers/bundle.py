"""Write a model bundle, and look for code in it before Keras does."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dicom_node.catalog import (
    CARD,
    CHECKED,
    CLASSICAL,
    GOLDEN,
    GOLDEN_EXPECTED,
    GOLDEN_INPUT,
    MANIFEST,
    MODELS,
    OPTIONAL,
    REFERENCE,
    SIGNATURE,
    SUMS,
    WEIGHTS,
    BundleFolder,
    open_bundle,
)
from dicom_node.domain.errors import CorruptBundle
from workers.arrays import NO_ZIP, Arrays, read_arrays, write_arrays
from workers.stock import foreign

MEMBERS = frozenset({"metadata.json", "config.json", "model.weights.h5"})
MAX_BYTES = 4 * 2**30
"""Of all members together, unpacked."""
SMALL_BYTES, MAX_RATIO = 16 * 2**20, 100
"""What may be packed how tightly: Keras itself packs nothing, and noise packs badly."""


@dataclass(frozen=True, slots=True)
class Golden:
    """An input and what the model said of it, to be asked again wherever the bundle goes."""

    given: Arrays
    expected: Arrays


def write_bundle(
    folder: Path,
    manifest: str,
    weights: Path,
    card: str,
    reference: Arrays | None = None,
    golden: Golden | None = None,
) -> BundleFolder:
    """Write all files of a bundle into a folder, in place of those of an earlier one; verify it.

    ``manifest`` is the text of ``manifest.toml``, ``card`` that of ``card.md``, ``weights`` a file
    that Keras saved, or skops where it is called ``*.skops``. Raises CorruptBundle where the
    manifest is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = CLASSICAL if weights.suffix == Path(CLASSICAL).suffix else WEIGHTS
    shutil.copyfile(weights, folder / model)
    for name in (OPTIONAL | MODELS | {SIGNATURE}) - {model}:
        (folder / name).unlink(missing_ok=True)
    (folder / MANIFEST).write_text(manifest, "utf-8")
    (folder / CARD).write_text(card, "utf-8")
    if reference is not None:
        write_arrays(folder / REFERENCE, reference)
    if golden is not None:
        (folder / GOLDEN).mkdir(exist_ok=True)
        write_arrays(folder / GOLDEN_INPUT, golden.given)
        write_arrays(folder / GOLDEN_EXPECTED, golden.expected)
    (folder / SUMS).write_text(_sums(folder), "ascii")
    return open_bundle(folder)


def sign_bundle(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign a bundle, in place of any earlier signature. Raises CorruptBundle for a wrong bundle."""
    open_bundle(folder)
    (folder / SIGNATURE).write_bytes(key.sign((folder / SUMS).read_bytes()))


def _sums(folder: Path) -> str:
    """In the format of ``sha256sum``."""
    present = [name for name in sorted(CHECKED) if (folder / name).is_file()]
    return "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in present
    )


def reference_of(bundle: BundleFolder) -> Arrays:
    """The arrays that packaging fitted; none where the bundle brings none along."""
    path = bundle.path / REFERENCE
    return read_arrays(path) if path.exists() else {}


def refuse_code(weights: Path) -> None:
    """Raise CorruptBundle where a ``.keras`` file could bring code along, or is no such file.

    Keras' own safe mode stands behind this check, and has been passed before (CVE-2025-1550).
    """
    try:
        with zipfile.ZipFile(weights) as archive:
            members = archive.infolist()
            if {member.filename for member in members} != MEMBERS or len(members) != len(MEMBERS):
                raise CorruptBundle(
                    f"{weights.name} holds other members than {', '.join(sorted(MEMBERS))}: save "
                    "the model with model.save('model.keras')",
                    code="BUNDLE_CODE",
                )
            refuse_bomb(weights, archive)
            config = json.loads(archive.read("config.json"))
    except (*NO_ZIP, ValueError) as error:
        raise CorruptBundle(
            f"{weights.name} is no Keras 3 file: HDF5, SavedModel and pickles are not loaded; save "
            "the model with model.save('model.keras')",
            code="BUNDLE_CODE",
        ) from error
    found = sorted(set(foreign(config)))
    if found:
        raise CorruptBundle(
            f"{weights.name} uses {', '.join(found)}: build it of stock Keras layers only",
            code="BUNDLE_CODE",
        )


def refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise CorruptBundle (BUNDLE_SIZE) for members that unpack to more than any model holds."""
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > MAX_BYTES or unpacked > max(SMALL_BYTES, MAX_RATIO * packed):
        raise CorruptBundle(
            f"{path.name} of {packed:,} bytes unpacks to {unpacked:,}: no model is so large or so "
            "empty; save it with model.save('model.keras')",
            code="BUNDLE_SIZE",
        )

"""Model bundles as folders: found, verified and read. No weights, no Keras.

A bundle is trusted when its folder holds no other files than those below, none of them a link, and
each has the SHA-256 that ``SHA256SUMS`` gives (the format of ``sha256sum``). The SHA-256 of
``SHA256SUMS`` itself is the bundle's identity, and what its maker signs.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from dicom_node.domain.manifest import ModelManifest
from dicom_node.observe import log
from dicom_node.settings.models import Models
from dicom_node.signing import Signers

MANIFEST, CARD, SUMS = "manifest.toml", "card.md", "SHA256SUMS"
WEIGHTS, CLASSICAL = "model.keras", "model.skops"
"""The model: a Keras network, or estimators of scikit-learn; a bundle holds one of them."""
REFERENCE = "reference.npz"
"""Arrays fitted at packaging, where the model needs some."""
GOLDEN = "golden"
GOLDEN_INPUT, GOLDEN_EXPECTED = f"{GOLDEN}/input.npz", f"{GOLDEN}/expected.npz"
"""An input and what the model said of it; both or none."""
SIGNATURE = "SHA256SUMS.sig"
MODELS = frozenset({WEIGHTS, CLASSICAL})
REQUIRED = frozenset({MANIFEST, CARD})
OPTIONAL = frozenset({REFERENCE, GOLDEN_INPUT, GOLDEN_EXPECTED})
CHECKED = REQUIRED | MODELS | OPTIONAL
"""The files that ``SHA256SUMS`` may name: those of them that are there, and no other."""
MAX_SUMS_BYTES, MAX_MANIFEST_BYTES = 64 * 1024, 1024 * 1024
REMEDIES = {
    "extra_forbidden": "there is no such key; correct its spelling or its table, or remove it",
    "missing": "is missing; add it",
}
"""Where pydantic's own words do not say what to do, by the type of its error."""
ENTRY_POINTS = "dicom_node.bundles"
ANYBODY = Signers()
"""Bundles are taken unsigned."""


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """A verified bundle."""

    path: Path
    manifest: ModelManifest
    sha256: str
    """Of ``SHA256SUMS``."""
    signed_by: str | None = None
    """The trusted key that signed it; none: nobody, or somebody whom this site does not know."""

    @property
    def id(self) -> str:
        """``name@version``."""
        return self.manifest.id


@dataclass(frozen=True, slots=True)
class Catalog:
    """The bundles that this node may use."""

    bundles: tuple[BundleFolder, ...]

    @classmethod
    def open(cls, paths: Iterable[Path], signers: Signers = ANYBODY) -> Self:
        """Verify each folder. Raises CorruptBundle, and ConfigurationError for one id twice."""
        bundles = tuple(open_bundle(path, signers) for path in paths)
        ids = [bundle.id for bundle in bundles]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ConfigurationError(
                f"two bundles are called {', '.join(twice)}: raise the version of one of them"
            )
        return cls(bundles)

    def find(self, model_id: str) -> BundleFolder:
        """The bundle of a ``name@version``. Raises ConfigurationError where there is none."""
        for bundle in self.bundles:
            if bundle.id == model_id:
                return bundle
        known = ", ".join(bundle.id for bundle in self.bundles) or "none"
        raise ConfigurationError(f"there is no model bundle {model_id}; known: {known}")


def configured(models: Models) -> Catalog:
    """The sound bundles that the settings name, and those that ship where they are wanted.

    One that cannot be trusted is left out and named in the log: it stops no other.
    """
    signers = Signers.read(models.trusted_keys, models.require_signature)
    sound = (path for path in bundle_folders(models) if _is_sound(path, signers))
    return Catalog.open(sound, signers)


def bundle_folders(models: Models) -> list[Path]:
    """The folders that should hold bundles. Raises ConfigurationError where there is none."""
    shipped = shipped_bundles() if models.reference else []
    return [*shipped, *(folder for path in models.paths for folder in _bundle_folders(path))]


def _is_sound(path: Path, signers: Signers) -> bool:
    try:
        open_bundle(path, signers)
    except CorruptBundle as error:
        advice = "run `dicom-node doctor`; mend the bundle, or take it from models.paths"
        log("models").error("bundle.reject", reason=error.code, model=path.name, advice=advice)
        return False
    return True


def _bundle_folders(path: Path) -> list[Path]:
    """A bundle's own folder, or each bundle in a folder of bundles."""
    if (path / MANIFEST).exists():
        return [path]
    found = [manifest.parent for manifest in sorted(path.glob(f"*/{MANIFEST}"))]
    if not found:
        raise ConfigurationError(f"models.paths: there is no bundle in {path}")
    return found


def shipped_bundles() -> list[Path]:
    """Folders of the bundles that installed packages offer.

    An entry point of the group ``dicom_node.bundles`` names a package whose folder holds them; the
    package is not imported.
    """
    return [
        manifest.parent
        for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name)
        for folder in _package_folders(entry_point.value)
        for manifest in sorted(folder.glob(f"*/{MANIFEST}"))
    ]


def open_bundle(path: Path, signers: Signers = ANYBODY) -> BundleFolder:
    """Verify the folder and read its manifest.

    Raises CorruptBundle with the codes BUNDLE_PATH (a file too many, a link, a path that leaves the
    folder), SIGNATURE (a file that is missing or was changed, or no trusted signature where one is
    demanded) and BUNDLE (a wrong manifest).
    """
    present = _check_structure(path)
    sums = (path / SUMS).read_bytes()
    for name, expected in _expected_sums(path, sums, present).items():
        if _sha256(path / name) != expected:
            _refuse(
                path,
                "SIGNATURE",
                f"{name} was changed after the bundle was packaged: get the "
                "bundle again from its maker",
            )
    signed_by = _signer(path, sums, signers)
    return BundleFolder(path, _read_manifest(path), hashlib.sha256(sums).hexdigest(), signed_by)


def parse_manifest(text: bytes, path: Path) -> ModelManifest:
    """What ``manifest.toml`` says; ``path`` is what it is of. Raises CorruptBundle."""
    try:
        return ModelManifest.model_validate(tomllib.loads(text.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(path, "BUNDLE", f"{MANIFEST} is no TOML: {error}")
    except ValidationError as error:
        _refuse(path, "BUNDLE", f"correct {MANIFEST}: {problems(error)}")


def problems(error: ValidationError) -> str:
    """All keys of a file that are wrong, each with what to do about it."""
    found = error.errors(include_input=False, include_url=False)
    places = [problem["loc"] for problem in found]
    return "; ".join(_problem(each) for each in found if not _follows(each["loc"], places))


def confirm(bundle: BundleFolder) -> None:
    """Raise CorruptBundle where the folder is not what it was when the bundle was opened."""
    if open_bundle(bundle.path).sha256 != bundle.sha256:
        _refuse(
            bundle.path, "SIGNATURE", "was replaced while the node ran: restart it to take the new"
        )


def _signer(path: Path, sums: bytes, signers: Signers) -> str | None:
    signature = path / SIGNATURE
    found = signature.is_file()
    signed_by = signers.of(sums, signature.read_bytes()) if found else None
    if signers.required and signed_by is None:
        why = (
            "was changed after it was signed, or signed by a key that is not in models.trusted_keys"
            if found
            else "is not signed, and this site demands it (models.require_signature)"
        )
        _refuse(path, "SIGNATURE", f"{why}: get it signed with `dicom-worker sign`")
    return signed_by


def _check_structure(path: Path) -> frozenset[str]:
    """The names of the files that ``SHA256SUMS`` must name."""
    if path.is_symlink() or not path.is_dir():
        _refuse(path, "BUNDLE_PATH", "is no folder: give the folder that holds manifest.toml")
    if not any((path / name).exists() for name in (MANIFEST, SUMS)):
        _refuse(path, "BUNDLE_PATH", f"there is no {MANIFEST} in it: give the folder of a bundle")
    found = frozenset(_file_names(path))
    for name in sorted(found - CHECKED - {SUMS, SIGNATURE}):
        _refuse(path, "BUNDLE_PATH", f"{name} does not belong into a bundle: remove it")
    if found >= MODELS:
        _refuse(path, "BUNDLE_PATH", f"{WEIGHTS} and {CLASSICAL}: a bundle is one model")
    for name in sorted(_missing(found)):
        _refuse(path, "SIGNATURE", f"{name} is missing: get the bundle again from its maker")
    return found & CHECKED


def _file_names(path: Path) -> Iterator[str]:
    """Of plain files in the folder and in its ``golden``; refuses all else."""
    for folder in (path, path / GOLDEN):
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = entry.relative_to(path).as_posix()
            if entry.is_symlink() or not (entry.is_file() or (entry.is_dir() and name == GOLDEN)):
                _refuse(path, "BUNDLE_PATH", f"{name} is a link or no plain file: remove it")
            if entry.is_file():
                yield name


def _missing(found: frozenset[str]) -> Iterator[str]:
    yield from (REQUIRED | {SUMS}) - found
    if not MODELS & found:
        yield WEIGHTS
    golden = {GOLDEN_INPUT, GOLDEN_EXPECTED}
    if golden & found:
        yield from golden - found


def _expected_sums(path: Path, sums: bytes, present: frozenset[str]) -> Mapping[str, str]:
    """SHA-256 by file name, of exactly the files that the bundle has."""
    if len(sums) > MAX_SUMS_BYTES:
        _refuse(path, "BUNDLE_PATH", f"{SUMS} is too large to be a list of a few files")
    lines = [line.split(maxsplit=1) for line in sums.decode("ascii", "replace").splitlines()]
    if not all(len(line) == 2 for line in lines):
        _refuse(path, "SIGNATURE", f"{SUMS} is not in the format of sha256sum: package it again")
    expected = {name: digest for digest, name in lines}
    if expected.keys() - CHECKED or len(expected) != len(lines):
        _refuse(path, "BUNDLE_PATH", f"{SUMS} names files that no bundle has, or one twice")
    for name in sorted(expected.keys() - present):
        _refuse(path, "SIGNATURE", f"{name} is missing: get the bundle again from its maker")
    for name in sorted(present - expected.keys()):
        _refuse(path, "SIGNATURE", f"{SUMS} does not name {name}: package the bundle again")
    return expected


def _read_manifest(path: Path) -> ModelManifest:
    if (path / MANIFEST).stat().st_size > MAX_MANIFEST_BYTES:
        _refuse(path, "BUNDLE_SIZE", f"{MANIFEST} is too large to be one")
    return parse_manifest((path / MANIFEST).read_bytes(), path)


def _follows(place: tuple[int | str, ...], places: Sequence[tuple[int | str, ...]]) -> bool:
    """Whether something within it is wrong, so that it is said to be short of it."""
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _problem(problem: ErrorDetails) -> str:
    """The key, and what to do about it."""
    key = ".".join(map(str, problem["loc"])) or "manifest"
    words = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {REMEDIES.get(problem['type'], words)}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_folders(package: str) -> list[Path]:
    top, *rest = package.split(".")
    spec = find_spec(top)
    places = spec.submodule_search_locations if spec else None
    return [Path(place, *rest) for place in places or ()]


def _refuse(path: Path, code: str, why: str) -> NoReturn:
    raise CorruptBundle(f"bundle {path.name}: {why}", code=code)

"""``dicom-node doctor``: what this install can and cannot do, and what to do about it."""

import ctypes
import ctypes.util
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dicom_node.decoders import COMPRESSED, NATIVE, decoders
from dicom_node.domain.errors import ConfigurationError, CorruptBundle, DicomNodeError
from dicom_node.settings.node import Settings
from dicom_node.signing import Signers

LOW_DISK_GIB = 5
SOON = timedelta(days=30)
"""Before a certificate expires."""


class Health(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Works without; something is less than it could be."""
    BAD = "bad"
    """The node, as it is configured, will not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's table."""

    what: str
    health: Health
    found: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, one after the other; none changes anything."""
    from dicom_node.doctor_destinations import destinations

    checks = (_python, _storage, _decoders, _tls, _ledger, _disk, _broker, _models, _tensorflow)
    for check in (*checks, _gpu, _pango, _chinese):
        yield from check(settings)
    yield from destinations(settings)


def accepted(settings: Settings) -> Mapping[tuple[str, ...], Sequence[str]]:
    """UIDs of the SOP classes that the listener accepts, by the transfer syntaxes that it accepts
    them in."""
    from dicom_node.receive.admission import supported_contexts
    from dicom_node.receive.notices import CLASSES

    found: dict[tuple[str, ...], list[str]] = {}
    for context in supported_contexts([CLASSES[name] for name in settings.completeness.expect]):
        syntaxes = tuple(map(str, context.transfer_syntax))
        found.setdefault(syntaxes, []).append(str(context.abstract_syntax))
    return found


def _python(_: Settings) -> Iterator[Check]:
    found = f"{sys.version.split()[0]}, dicom-node {version('dicom-node')}"
    yield Check("Python", Health.OK, found)


def _storage(_: Settings) -> Iterator[Check]:
    from dicom_node.receive.admission import storage_classes

    syntaxes = ", ".join(uid.name for uid in NATIVE)
    found = f"{len(storage_classes())} SOP classes in {syntaxes}; images also as decoded below"
    yield Check("storage", Health.OK, found, "see all: dicom-node doctor --classes")


def _decoders(_: Settings) -> Iterator[Check]:
    for uid, plugins in decoders().items():
        name = f"decode {COMPRESSED[uid]}"
        if plugins:
            yield Check(name, Health.OK, ", ".join(plugins))
        else:
            advice = "images in this syntax are refused at negotiation"
            yield Check(name, Health.NOTE, "none", advice)


def _tls(settings: Settings) -> Iterator[Check]:
    from cryptography.x509 import load_pem_x509_certificate

    from dicom_node.receive.tls_gate import tls_context

    if settings.listen.tls is None:
        return
    try:
        tls_context(settings.listen.tls)
    except ConfigurationError as error:
        yield Check("TLS", Health.BAD, str(error), "correct listen.tls")
        return
    ours = load_pem_x509_certificate(settings.listen.tls.certificate.read_bytes())
    left = ours.not_valid_after_utc - datetime.now(UTC)
    health = Health.OK if left > SOON else Health.NOTE if left > timedelta() else Health.BAD
    advice = "" if health is Health.OK else "have it renewed"
    yield Check("TLS", health, f"certificate valid until {ours.not_valid_after_utc:%F}", advice)


def _ledger(settings: Settings) -> Iterator[Check]:
    from dicom_node.ledger.database import Database, missing_file
    from dicom_node.ledger.schema import REVISION

    try:
        yield from _locks(settings)
        if missing := missing_file(settings.ledger_url):
            yield Check("ledger", Health.OK, f"will be made: {missing}")
            return
        found = Database(settings.ledger_url).revision()
    except DicomNodeError as error:
        yield Check("ledger", Health.BAD, str(error), "check ledger.url and that it can be reached")
        return
    state = f"schema {found or 'empty'}, this version uses {REVISION}"
    yield Check("ledger", Health.OK, state)


def _locks(settings: Settings) -> Iterator[Check]:
    """Locks and the write-ahead log of SQLite need a disk of this machine."""
    from dicom_node.ledger.database import file_of
    from dicom_node.mounts import file_system, is_shared

    file = file_of(settings.ledger_url)
    if file is not None and is_shared(kind := file_system(file.parent)):
        advice = "move data_dir to a disk of this machine, or set ledger.url to PostgreSQL"
        yield Check("ledger", Health.NOTE, f"SQLite on {kind} may lose what it wrote", advice)


def _disk(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir.absolute()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        advice = "let the node's user write there, or move data_dir"
        yield Check("disk", Health.BAD, f"nothing can be written to {existing}", advice)
        return
    free_gib = shutil.disk_usage(existing).free / 2**30
    health = Health.OK if free_gib >= LOW_DISK_GIB else Health.BAD
    advice = "" if health is Health.OK else "free space, or move data_dir"
    yield Check("disk", health, f"{free_gib:.0f} GiB free at {existing}", advice)


def _broker(settings: Settings) -> Iterator[Check]:
    from dicom_node.redis_server import find_program

    if settings.broker.url is None:
        program = find_program()
        advice = "install redis-server (Debian: apt install redis-server), or set broker.url"
        if program:
            yield Check("Redis", Health.OK, f"{program}, started by serve")
        else:
            yield Check("Redis", Health.BAD, "no redis-server on PATH", advice)
        return
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(settings.broker_url, socket_connect_timeout=3, socket_timeout=3) as r:
            r.ping()
    except (RedisError, ValueError):
        advice = "start Redis there, or correct broker.url"
        yield Check("Redis", Health.BAD, "does not answer PING", advice)
    else:
        yield Check("Redis", Health.OK, "answers PING")


def _models(settings: Settings) -> Iterator[Check]:
    from dicom_node.catalog import bundle_folders

    models = settings.models
    try:
        folders = bundle_folders(models)
        signers = Signers.read(models.trusted_keys, models.require_signature)
    except ConfigurationError as error:
        yield Check("models", Health.BAD, str(error), "correct it in the settings")
        return
    if not folders:
        yield Check("models", Health.BAD, "none", "set models.paths, or models.reference = true")
    for folder in folders:
        yield _bundle(folder, signers)


def _bundle(folder: Path, signers: Signers) -> Check:
    from dicom_node.catalog import open_bundle

    try:
        bundle = open_bundle(folder, signers)
    except CorruptBundle as error:
        advice = "it is not used: mend it, or take it from models.paths"
        return Check("model", Health.BAD, f"{error} ({error.code})", advice)
    signed = f"signed by {bundle.signed_by}" if bundle.signed_by else "no trusted signature"
    return Check("model", Health.OK, f"{bundle.manifest.id}, {bundle.sha256[:12]}, {signed}")


def _tensorflow(_: Settings) -> Iterator[Check]:
    for name in ("tensorflow", "tensorflow-cpu"):
        try:
            yield Check("TensorFlow", Health.OK, f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
        else:
            return
    advice = "this install serves every role but the worker; pip install dicom-node[inference]"
    yield Check("TensorFlow", Health.NOTE, "not installed", advice)


def _gpu(_: Settings) -> Iterator[Check]:
    if Path("/proc/driver/nvidia/version").exists():
        yield Check("GPU", Health.OK, "NVIDIA driver loaded")
    else:
        advice = "models run on the processor"
        yield Check("GPU", Health.NOTE, "no NVIDIA driver", advice)


def _pango(_: Settings) -> Iterator[Check]:
    found = ctypes.util.find_library("pango-1.0")
    advice = "PDF reports need Pango (Debian: apt install libpango-1.0-0 libpangoft2-1.0-0)"
    if found:
        yield Check("Pango", Health.OK, found)
    else:
        yield Check("Pango", Health.BAD, "not found", advice)


def _chinese(settings: Settings) -> Iterator[Check]:
    """A PDF without the font would hold boxes in place of letters."""
    if settings.results.language != "zh-Hans":
        return
    if _has_font(b"zh-cn"):
        yield Check("Chinese font", Health.OK, "found")
    else:
        advice = "install one (Debian: apt install fonts-wqy-microhei), or set results.language"
        yield Check("Chinese font", Health.BAD, "none", advice)


def _has_font(language: bytes) -> bool:
    """Whether a font of this machine has the letters of a language (fontconfig's name of it)."""
    name = ctypes.util.find_library("fontconfig")
    if name is None:
        return False
    library = ctypes.CDLL(name)
    library.FcNameParse.restype = library.FcObjectSetCreate.restype = ctypes.c_void_p
    library.FcFontList.restype = ctypes.POINTER(ctypes.c_int)  # nfont, the first field
    wanted = ctypes.c_void_p(library.FcNameParse(b":lang=" + language))
    nothing = ctypes.c_void_p(library.FcObjectSetCreate())
    return bool(library.FcFontList(None, wanted, nothing)[0])

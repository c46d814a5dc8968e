"""Settings: a TOML file, the environment over it, secrets from files; read once, passed as values.

Order, strongest first: environment (``DICOM_NODE__LISTEN__PORT=104``), secret files (a file
``broker__url`` in the folder that ``DICOM_NODE_SECRETS_DIR`` or systemd's
``CREDENTIALS_DIRECTORY`` names), the TOML file, the defaults below. No other module reads the
environment.
"""

import hashlib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dicom_node.domain.delivery import DEFAULT_KINDS, ResultKind
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.job import JobState
from dicom_node.domain.rule import TagRule

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Notice = Literal["MPPS", "IAN"]
PREFIX = "DICOM_NODE__"


def is_loopback(host: str) -> bool:
    """Whether a listening address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Caller(_Section):
    """A peer that may send, and how it is known."""

    ae_title: AETitle
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Addresses it may come from, such as ``10.1.2.0/24``; empty: any."""
    certificate_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of its TLS certificate (DER), in hex; empty: any that the CA signed."""


class Tls(_Section):
    """Mutual TLS of the listener: TLS 1.2 or newer (PS3.15 B.12)."""

    certificate: Path
    key: Path
    authority: Path
    """Certificates of who may sign callers' certificates (PEM)."""


class Listen(_Section):
    """The door that studies come in by."""

    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: AETitle = "DICOM_NODE"
    callers: tuple[Caller, ...] = ()
    """Who is welcome, as AE titles or with networks and certificates; empty: all."""
    tls: Tls | None = None
    durability: Literal["full", "os"] = "full"
    """``full``: on stable storage before the answer; ``os``: in the cache, lost with power."""
    fast_path: bool = True
    """Our own reading of C-STORE; else pynetdicom's, slower."""
    processes: int = Field(default=1, ge=1, le=16)
    """Listener processes on the one port."""
    max_associations: int = Field(default=50, ge=1, le=1000)
    max_associations_per_host: int = Field(default=20, ge=1, le=1000)
    max_connections: int = Field(default=300, ge=1, le=5000)
    """Connections that have no association yet are counted here, too."""
    max_connections_per_host: int = Field(default=50, ge=1, le=5000)
    reserve_mib: int = Field(default=1024, ge=1)
    """Free space below which nothing more is taken."""

    @field_validator("callers", mode="before")
    @classmethod
    def _titles_alone(cls, callers: Any) -> Any:
        if not isinstance(callers, list | tuple):
            return callers
        return tuple({"ae_title": c} if isinstance(c, str) else c for c in callers)


class Archive(_Section):
    """A DICOM peer that is asked how many images a study has (C-FIND, study root)."""

    host: str
    port: Port
    ae_title: AETitle


class NamedSeries(_Section):
    """A series that must be there before a study is ready."""

    name: str = Field(min_length=1, max_length=64)
    rules: tuple[TagRule, ...] = Field(min_length=1)
    """All of them must hold for one and the same series."""
    min_images: int = Field(default=1, ge=1)
    modalities: tuple[str, ...] = ()
    """Asked for only in studies that hold one of these; empty: in every study."""


class Completeness(_Section):
    """When a study is ready for analysis: whichever of these comes first."""

    quiet_s: float = Field(default=60, gt=0)
    """No image for this long."""
    deadline_s: float = Field(default=5400, gt=0)
    """The end of waiting, counted from the first image."""
    at_deadline: Literal["analyse", "incomplete"] = "analyse"
    """What then: analyse what is there, or hold the study back as INCOMPLETE."""
    expect: tuple[Notice, ...] = ()
    """Take these notices, and wait for exactly the images that they name: MPPS (the modality's
    performed procedure step), IAN (Instance Availability Notification). List only what comes from
    systems that send here all that they announce."""
    pacs: Archive | None = None
    """Wait for as many images as this archive has of the study."""
    series: tuple[NamedSeries, ...] = ()
    grace_s: float = Field(default=2, gt=0)
    """What was announced and is here must have stood still for this long."""

    @model_validator(mode="after")
    def _periods_in_order(self) -> Self:
        if self.quiet_s >= self.deadline_s:
            raise ValueError("quiet_s must be below deadline_s, or it never comes first")
        if (self.expect or self.pacs) and self.grace_s > self.quiet_s:
            raise ValueError("grace_s must not be above quiet_s, or expect and pacs save no time")
        names = [s.name for s in self.series]
        if len(set(names)) < len(names):
            raise ValueError("series: every name may appear once")
        return self


class Sweep(_Section):
    """How often the node looks for work that waits."""

    interval_s: float = Field(default=1, gt=0)
    ring_again_s: float = Field(default=30, gt=0)
    """Ring again for work that nobody has claimed."""
    lease_s: float = Field(default=60, gt=0)
    """A claim without a heartbeat for this long is dead."""


class Ledger(_Section):
    """Where the facts are."""

    url: SecretStr | None = None
    """SQLAlchemy URL; none: SQLite in ``data_dir``."""


class Broker(_Section):
    """Who rings."""

    url: SecretStr | None = None
    """Redis URL; none: ``serve`` starts ``redis-server`` on a free port of this machine."""


class Models(_Section):
    """Which bundles this node offers studies to."""

    paths: tuple[Path, ...] = ()
    """Bundle folders, or folders of bundles."""
    reference: bool = True
    """The bundles that ship with the product."""
    trusted_keys: tuple[Path, ...] = ()
    """Ed25519 public keys (PEM) of those whose bundles are welcome; a key is called as its file."""
    require_signature: bool = False
    """Refuse each bundle, a reference bundle too, that none of the trusted keys has signed."""


class Results(_Section):
    """What is made of an analysis; every field here can change a result's content."""

    kinds: tuple[ResultKind, ...] = DEFAULT_KINDS
    language: Literal["en", "de", "zh-Hans"] = "en"
    """Of the report, the SR's texts and the words in pictures."""
    segmentation: Literal["BINARY", "LABELMAP", "FRACTIONAL"] = "BINARY"
    """LABELMAP is smaller, FRACTIONAL keeps probabilities; fewer viewers read them."""
    parametric_map: Literal["FLOAT", "INTEGER"] = "FLOAT"
    """INTEGER: 16 bits a value, for viewers that read no floating point pixels."""
    series_number_base: int = Field(default=9000, ge=1, le=90000)
    institution: str = Field(default="", max_length=64)
    answers: Literal["every", "failures", "none"] = "every"
    """When an SR is sent in place of a result: also of studies that no model reads, or only where
    a model that took the study failed."""

    @property
    def answered(self) -> frozenset[JobState]:
        """States of jobs whose reason is told in place of a result."""
        failures = {JobState.FAILED, JobState.QUARANTINED}
        states = {"every": failures | {JobState.DECLINED}, "failures": failures, "none": set()}
        return frozenset(states[self.answers])

    @property
    def sha256(self) -> str:
        """Identity of these settings: a part of every result's UID."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Destination(_Section):
    """A DICOM peer that results are sent to by C-STORE."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    host: str
    port: Port
    ae_title: AETitle
    kinds: tuple[ResultKind, ...] = tuple(ResultKind)
    """What it gets of ``results.kinds``; of STRUCTURED_REPORT, FLAT_REPORT and ENHANCED_REPORT only
    the first whose SOP class it accepts."""


class Worker(_Section):
    """Limits of one analysis."""

    soft_limit_s: int = Field(default=600, ge=10)
    hard_limit_s: int = Field(default=660, ge=15)
    tasks_per_child: int = Field(default=50, ge=1)
    memory_mib: int = Field(default=6144, ge=1024)

    @model_validator(mode="after")
    def _soft_before_hard(self) -> Self:
        if self.soft_limit_s >= self.hard_limit_s:
            raise ValueError("soft_limit_s must be below hard_limit_s")
        return self


class Web(_Section):
    """The page."""

    host: str = "127.0.0.1"
    port: Port = 8080
    password: SecretStr | None = None
    """Asked for by HTTP Basic with any user name; must be set when ``host`` is not loopback."""
    rejection_password: SecretStr | None = None
    """Asked for before a result is rejected, of those who may retract; none: whoever may review."""

    @model_validator(mode="after")
    def _password_beyond_loopback(self) -> Self:
        if not is_loopback(self.host) and self.password is None:
            raise ValueError(
                f"host {self.host} can be reached from other machines: set password (better, as a "
                "secret file web__password), and put a TLS proxy in front"
            )
        return self


class Log(_Section):
    """What is logged, and how. Never a patient's data."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"


class Settings(BaseSettings):
    """Every setting of the node."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__"
    )

    data_dir: Path = Path("dicom-node-data")
    listen: Listen = Listen()
    completeness: Completeness = Completeness()
    sweep: Sweep = Sweep()
    ledger: Ledger = Ledger()
    broker: Broker = Broker()
    models: Models = Models()
    results: Results = Results()
    destinations: tuple[Destination, ...] = ()
    worker: Worker = Worker()
    web: Web = Web()
    log: Log = Log()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [d.name for d in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("destinations: every name may appear once")
        return self

    @property
    def store_dir(self) -> Path:
        """Root of the instance store."""
        return self.data_dir / "store"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        if self.ledger.url is not None:
            return self.ledger.url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'ledger.sqlite3'}"

    @property
    def broker_url(self) -> str:
        """Redis URL; ``serve`` and ``demo`` pass the one they started by the environment."""
        if self.broker.url is None:
            raise ConfigurationError(
                "no broker: set broker.url (redis://HOST:PORT/0), or run `dicom-node serve`, "
                "which starts redis-server itself"
            )
        return self.broker.url.get_secret_value()


def load_settings(path: Path | None = None) -> Settings:
    """Read all sources once.

    Raises ``ConfigurationError`` with one line for each wrong key.
    """
    try:
        return _settings_class(path)()
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def origins(path: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """(key, value, origin) of every setting, secrets masked: what ``config show`` prints."""
    settings = load_settings(path)
    layers = [(name, _flat(source())) for name, source in _sources(type(settings), path)]
    for key, value in _flat(settings.model_dump(mode="json")).items():
        origin = next((name for name, values in layers if _names(values, key)), "default")
        yield key, str(value), origin


def _settings_class(path: Path | None) -> type[Settings]:
    if path is not None and not path.is_file():
        raise ConfigurationError(f"{path}: no such file; write one, or leave out --config")

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(source for _, source in _sources(settings_cls, path))

    return Loaded


def _sources(
    settings_cls: type[BaseSettings], path: Path | None
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    sources: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("environment", EnvSettingsSource(settings_cls))
    ]
    if secrets := _secrets_dir():
        nested = NestedSecretsSettingsSource(
            EnvSettingsSource(settings_cls, env_prefix=""),
            secrets_dir=secrets,
            secrets_prefix="",
            secrets_nested_delimiter="__",
        )
        sources.append((f"secret file in {secrets}", nested))
    if path is not None:
        sources.append((str(path), TomlConfigSettingsSource(settings_cls, toml_file=path)))
    return sources


def _secrets_dir() -> Path | None:
    folder = os.environ.get("DICOM_NODE_SECRETS_DIR") or os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and not Path(folder).is_dir():
        raise ConfigurationError(f"{folder}: the secrets folder does not exist")
    return Path(folder) if folder else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _names(values: Mapping[str, Any], key: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for name in values)


def _explain(error: ValidationError, path: Path | None) -> str:
    where = str(path) if path else "settings"
    lines = [
        f"{where}: {'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}"
        for e in error.errors(include_input=False, include_url=False)
    ]
    return "\n".join(lines)

"""The door: who may send, and how much at a time."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, IPvAnyNetwork, field_validator

from dicom_node.settings.section import AETitle, Port, Section


class Caller(Section):
    """A peer that may send, and how it is known."""

    ae_title: AETitle
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Addresses it may come from, such as ``10.1.2.0/24``; empty: any."""
    certificate_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of its TLS certificate (DER), in hex; empty: any that the CA signed."""


class Tls(Section):
    """Mutual TLS of the listener: TLS 1.2 or newer (PS3.15 B.12)."""

    certificate: Path
    key: Path
    authority: Path
    """Certificates of who may sign callers' certificates (PEM)."""


class Listen(Section):
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

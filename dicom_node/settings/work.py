"""How work is kept, rung for and limited: sweep, ledger, broker, worker."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from dicom_node.settings.section import Section


class Sweep(Section):
    """How often the node looks for work that waits."""

    interval_s: float = Field(default=1, gt=0)
    ring_again_s: float = Field(default=30, gt=0)
    """Ring again for work that nobody has claimed."""
    lease_s: float = Field(default=60, gt=0)
    """A claim without a heartbeat for this long is dead."""


class Ledger(Section):
    """Where the facts are."""

    url: SecretStr | None = None
    """SQLAlchemy URL; none: SQLite in ``data_dir``."""


class Broker(Section):
    """Who rings."""

    url: SecretStr | None = None
    """Redis URL; none: ``serve`` starts ``redis-server`` on a free port of this machine."""


class Worker(Section):
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

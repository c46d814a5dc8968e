"""How work is kept, rung for and limited: sweep, ledger, broker, worker."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from dicom_node.settings.section import Section


class Sweep(Section):
    """How often the node looks for work that waits."""

    interval_s: float = Field(default=1, gt=0)
    ring_again_s: float = Field(default=30, gt=0)
    """Ring again for work that nobody has claimed."""
    lease_s: float = Field(default=60, gt=0)
    """A claim without a heartbeat for this long is dead."""
    keep_days: int = Field(default=0, ge=0, le=36500)
    """Studies of which nothing is to come are removed after so many days without any event, those
    that a person should look at after twice as many; 0: everything is kept."""


class Ledger(Section):
    """Where the facts are."""

    url: SecretStr | None = None
    """SQLAlchemy URL; none: SQLite in ``data_dir``."""


class Broker(Section):
    """Who rings."""

    url: SecretStr | None = None
    """Redis URL; none: ``serve`` starts ``redis-server`` on a free port of this machine."""

    @field_validator("url")
    @classmethod
    def _of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        """What Celery cannot use would end the sweep, again and again, once a job waits."""
        if url is not None and not _is_of_redis(url.get_secret_value()):
            raise ValueError(
                "write redis://:PASSWORD@HOST:PORT/NUMBER (rediss:// over TLS), special "
                "characters of the password as %XX"
            )
        return url


def _is_of_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        number = parts.path.strip("/") or "0"
        known = parts.scheme in ("redis", "rediss") and number.isdecimal()
        return known and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port
        return False


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

"""Settings: every section of them, and what follows from several."""

from pathlib import Path
from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dicom_node.domain.delivery import ResultKind, audience
from dicom_node.domain.errors import ConfigurationError
from dicom_node.settings.completeness import Completeness
from dicom_node.settings.listen import Listen
from dicom_node.settings.log import Log
from dicom_node.settings.models import Models
from dicom_node.settings.results import Destination, Results
from dicom_node.settings.web import Web
from dicom_node.settings.work import Broker, Ledger, Sweep, Worker

PREFIX = "DICOM_NODE__"


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
    def wanted(self) -> dict[str, tuple[ResultKind, ...]]:
        """What each destination gets, by its name."""
        return {d.name: d.kinds or self.results.kinds for d in self.destinations}

    @property
    def audiences(self) -> tuple[tuple[str, ...], ...]:
        """Names of the destinations that may read the same documents."""
        found: dict[frozenset[ResultKind], tuple[str, ...]] = {}
        for name, kinds in self.wanted.items():
            found[audience(kinds)] = (*found.get(audience(kinds), ()), name)
        return tuple(found.values())

    @property
    def written(self) -> Results:
        """``results`` with all kinds that are made: its own, and what a destination asks for.

        They are a part of the results' identity, for an SR names the objects beside it.
        """
        kinds = self.results.kinds
        asked = {kind for wanted in self.wanted.values() for kind in wanted}
        more = tuple(kind for kind in ResultKind if kind in asked and kind not in kinds)
        return self.results.model_copy(update={"kinds": (*kinds, *more)})

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

"""Which processes of the node live: each says so every few seconds."""

import time
from dataclasses import dataclass

from sqlalchemy import delete, select

from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import role

BEAT_S = 10.0
SILENT_S = 45.0
"""A role that has not been seen for this long is down."""
FORGOTTEN_S = 86_400.0
"""A host that has been silent for this long, while another has its role, was replaced: a container
gets a new name each time."""


@dataclass(frozen=True, slots=True)
class RoleSeen:
    """A process of the node, as the ledger last heard of it."""

    name: str
    host: str
    started_at: float
    seen_at: float

    @property
    def lives(self) -> bool:
        """Whether it spoke lately; before a clock that was set back says so, it speaks again."""
        return abs(time.time() - self.seen_at) < SILENT_S


class Roles:
    """The signs of life of every process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, name: str, host: str, started_at: float) -> None:
        """Say that the role lives on this host; who had it before is forgotten after a day."""
        now = time.time()
        values = {"name": name, "host": host, "started_at": started_at, "seen_at": now}
        change = {"started_at": started_at, "seen_at": now}
        replaced = (role.c.name == name) & (role.c.seen_at < now - FORGOTTEN_S)
        with self._database.write() as connection:
            connection.execute(self._database.insert_or_update(role, values, change))
            connection.execute(delete(role).where(replaced))

    def seen(self) -> list[RoleSeen]:
        """Every role that was ever heard of."""
        with self._database.read() as connection:
            return [
                RoleSeen(*row) for row in connection.execute(select(role).order_by(role.c.name))
            ]

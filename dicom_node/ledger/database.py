"""Connections and transactions: SQLite (WAL, synchronous=FULL) or PostgreSQL."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.dml import Insert

from dicom_node import faults
from dicom_node.domain.errors import ConfigurationError, LedgerBusy
from dicom_node.ledger.schema import REVISION

BUSY_TIMEOUT_MS = 5000
DISK_ERRORS = {sqlite3.SQLITE_FULL: "NO_SPACE", sqlite3.SQLITE_IOERR: "STORAGE_IO"}
"""Reason codes, by SQLite's primary result code."""


class Database:
    """One engine; every write is one short transaction that takes the write lock at its start."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end, on stable storage, or rolls back.

        Raises ``LedgerBusy`` when another writer holds the ledger for over five seconds, and where
        its disk is full (NO_SPACE) or fails (STORAGE_IO).
        """
        with _busy(), self.engine.connect() as connection:
            connection.info["immediate"] = True
            try:
                with connection.begin():
                    yield connection
                    faults.point("ledger.committing")
                faults.point("ledger.committed")
            finally:
                connection.info["immediate"] = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent moment."""
        with _busy(), self.engine.connect() as connection, connection.begin():
            yield connection

    def insert_or_skip(self, table: Table) -> Insert:
        """INSERT that does nothing where the row exists."""
        statement: Insert = self._insert(table).on_conflict_do_nothing()
        return statement

    def insert_or_update(
        self, table: Table, values: Mapping[str, Any], change: Mapping[str, Any]
    ) -> Insert:
        """INSERT, or UPDATE with ``change`` where the primary key exists."""
        keys = [column.name for column in table.primary_key]
        fresh = self._insert(table).values(values)
        statement: Insert = fresh.on_conflict_do_update(index_elements=keys, set_=change)
        return statement

    def _insert(self, table: Table) -> Any:
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table)

    def revision(self) -> str | None:
        """The schema revision in the database; none: an empty database."""
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def require_current_schema(self) -> None:
        """Bring an older schema up to date; refuse a newer one (``ConfigurationError``)."""
        found = self.revision()
        if found == REVISION:
            return
        if found is not None and found > REVISION:
            raise ConfigurationError(
                f"the ledger has schema {found}, this version knows {REVISION}: "
                "run the newer version, or restore the backup made before the upgrade"
            )
        from dicom_node.ledger.migrations import upgrade

        with self.write() as connection:
            upgrade(connection)
            faults.point("ledger.migrated")


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        code = DISK_ERRORS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
        name = type(error.orig).__name__
        raise LedgerBusy(f"the ledger did not answer: {name}", code=code) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    file = Path(url.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _switch_to_wal(connection: Any) -> None:
    """Set the journal mode of a new file; SQLite's own busy time-out does not cover the switch."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    kind = "IMMEDIATE" if connection.info.get("immediate") else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {kind}")

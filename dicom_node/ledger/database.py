"""Connections and transactions: SQLite (WAL, synchronous=FULL) or PostgreSQL."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.sql.dml import Insert

from dicom_node import faults
from dicom_node.domain.errors import ConfigurationError, LedgerBusy
from dicom_node.ledger.schema import REVISION

BUSY_TIMEOUT_MS = 5000
RIGHTS = "STORAGE_IO", "check who owns its file and its folder, and who may write to them"
DAMAGED = (
    "STORAGE_IO",
    "its file is damaged: stop the node, restore the file from a backup, start the node",
)
FAULTS = {
    sqlite3.SQLITE_FULL: ("NO_SPACE", "free space on its disk"),
    sqlite3.SQLITE_IOERR: ("STORAGE_IO", "check its disk"),
    sqlite3.SQLITE_CANTOPEN: RIGHTS,
    sqlite3.SQLITE_READONLY: RIGHTS,
    sqlite3.SQLITE_PERM: RIGHTS,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
"""Reason code and what to do, by SQLite's primary result code."""
BUSY = None, "see that its database runs, and that no other program holds it"


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


def file_of(url: str) -> Path | None:
    """The file of a SQLite ledger; none: it is in PostgreSQL, or in memory."""
    return _file(_parsed(url))


def missing_file(url: str) -> Path | None:
    """The file of a SQLite ledger that there is none of yet."""
    file = file_of(url)
    return file if file is not None and not file.exists() else None


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        fault = FAULTS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
        if fault is None and not isinstance(error, OperationalError):
            raise
        code, advice = fault or BUSY
        name = type(error.orig).__name__
        raise LedgerBusy(f"the ledger did not answer ({name}): {advice}", code=code) from error


def _engine(url: str) -> Engine:
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _of_server(parsed)
    if file := _file(parsed):
        _make_private(file)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "ledger.url is no database URL: write sqlite:////FOLDER/FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or leave it out"
        ) from None


def _of_server(url: URL) -> Engine:
    try:
        if url.get_backend_name() != "postgresql":
            raise ArgumentError
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except ArgumentError:
        raise ConfigurationError(
            f"ledger.url: {url.drivername} is no database that the ledger can be in: "
            "use sqlite or postgresql"
        ) from None
    except ImportError as error:
        ours = error.name in (None, "psycopg")  # no name: it is there, its library is not
        package = "'dicom-node[postgresql]'" if ours else error.name
        raise ConfigurationError(
            f"ledger.url: install the driver of that database: pip install {package}"
        ) from None


def _file(url: URL) -> Path | None:
    """Of a SQLite ledger that is one, not in memory, nor named by a URI of SQLite's own."""
    name = url.database or ":"
    is_file = url.get_backend_name() == "sqlite" and not name.startswith((":", "file:"))
    return Path(name) if is_file else None


def _make_private(file: Path) -> None:
    """Patients' names stand in the ledger: nobody but the node's user may read it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"the ledger {file} cannot be opened ({error.strerror}): check data_dir, and who may "
            "write to it"
        ) from None
    for each in (file, *(file.with_name(f"{file.name}-{suffix}") for suffix in ("wal", "shm"))):
        with suppress(OSError):  # it is somebody else's, who may have reasons, or not there
            each.chmod(0o600)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.create_function("lower", 1, _folded, deterministic=True)


def _folded(value: Any) -> Any:
    """SQLite's own ``lower`` knows the letters of English alone: ``MÜLLER`` was not ``müller``."""
    return value.casefold() if isinstance(value, str) else value


def _switch_to_wal(connection: Any) -> None:
    """Set the journal mode of a new file; SQLite's own busy time-out does not cover the switch.

    Raises ``ConfigurationError`` where SQLite says nothing and stays with another mode.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        late = time.monotonic() > deadline
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if late:
                raise
        else:
            if late and mode != "wal":
                raise ConfigurationError(
                    "the ledger has no write-ahead log in memory, nor on this file system: let "
                    "data_dir, or ledger.url, be on a disk of this machine"
                )
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    kind = "IMMEDIATE" if connection.info.get("immediate") else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {kind}")

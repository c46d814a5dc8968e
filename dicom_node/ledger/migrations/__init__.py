"""Alembic migrations of the ledger: forward only, one file a revision, each in one transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text


def upgrade(connection: Connection) -> None:
    """Bring the schema to this version's revision, inside the caller's transaction.

    The caller holds SQLite's write lock; PostgreSQL is locked here, so that of several roles
    that start together one migrates and the others find the work done.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7301)"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

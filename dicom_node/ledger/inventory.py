"""What the ledger says lies in the store: every instance, result and report with its hash."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, func, literal, select, tuple_

from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import instance, job, result

AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Filed:
    """A file that the store must hold."""

    sha256: str
    sop_instance_uid: str
    """Empty for the HTML report of a job."""
    job_id: str
    """Empty for a received instance."""
    pack: str = ""
    """Of a received instance; empty: it is a file of its own."""
    pack_offset: int = 0
    size_bytes: int = 0
    """Of an instance in a pack."""


class Inventory:
    """Reads; writes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def files(self) -> Iterator[Filed]:
        """Every file that a row names when this begins; perhaps some that one names later.

        No transaction is open between rows: whoever hashes them takes hours, for which SQLite could
        not empty its log.
        """
        nothing = literal("")
        alone = nothing, literal(0), literal(0)
        where = instance.c.pack, instance.c.pack_offset, instance.c.size_bytes
        received = select(instance.c.sha256, instance.c.sop_instance_uid, nothing, *where)
        made = select(result.c.sha256, result.c.sop_instance_uid, result.c.job_id, *alone)
        reports = select(job.c.report_sha256, nothing, job.c.id, *alone)
        yield from self._paged(received, instance.c.sop_instance_uid, instance.c.sha256)
        yield from self._paged(made, result.c.sop_instance_uid)
        yield from self._paged(reports.where(job.c.report_sha256 != ""), job.c.id)

    def _paged(self, query: Select[Any], *key: Column[str]) -> Iterator[Filed]:
        """Rows by their primary key."""
        query = query.add_columns(*key).order_by(*key).limit(AT_ONCE)
        page = query
        while True:
            with self._database.read() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                yield Filed(*row[: -len(key)])
            if len(rows) < AT_ONCE:
                return
            page = query.where(tuple_(*key) > tuple_(*rows[-1][-len(key) :]))

    def packs(self) -> dict[str, int]:
        """How many instances each pack of the store holds."""
        query = select(instance.c.pack, func.count()).group_by(instance.c.pack)
        with self._database.read() as connection:
            return {name: count for name, count in connection.execute(query) if name}

    def extents(self, pack: str) -> dict[int, int]:
        """Where the instances of a pack begin, and how long they are."""
        query = select(instance.c.pack_offset, instance.c.size_bytes)
        with self._database.read() as connection:
            rows = connection.execute(query.where(instance.c.pack == pack))
            return {row.pack_offset: row.size_bytes for row in rows}

"""What the ledger says lies in the store: every instance, result and report with its hash."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, func, literal, select, tuple_, union_all

from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import erasure, instance, job, result

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
        made = made.where(result.c.sha256 != "")
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

    def names(self, filed: Filed) -> bool:
        """Whether a row still names a file: its study may have been removed meanwhile."""
        where: tuple[ColumnElement[bool], ...]
        if not filed.job_id:
            where = (
                instance.c.sop_instance_uid == filed.sop_instance_uid,
                instance.c.sha256 == filed.sha256,
                instance.c.pack == filed.pack,
                instance.c.pack_offset == filed.pack_offset,
            )
        elif filed.sop_instance_uid:
            of_result = result.c.sop_instance_uid == filed.sop_instance_uid
            where = of_result, result.c.sha256 == filed.sha256
        else:
            where = job.c.id == filed.job_id, job.c.report_sha256 == filed.sha256
        with self._database.read() as connection:
            return connection.scalar(select(literal(1)).where(*where)) is not None

    def packs(self) -> dict[str, int]:
        """How many instances each pack of the store holds, or held until they were removed."""
        query = union_all(
            *(select(t.c.pack, func.count()).group_by(t.c.pack) for t in (instance, erasure))
        )
        found = Counter[str]()
        with self._database.read() as connection:
            for name, count in connection.execute(query):
                found[name] += count
        del found[""]
        return dict(found)

    def extents(self, pack: str) -> dict[int, int]:
        """Where the instances of a pack begin, and how long they are; those that are still to be
        erased are among them."""
        held = select(instance.c.pack_offset, instance.c.size_bytes).where(instance.c.pack == pack)
        erased = select(erasure.c.pack_offset, erasure.c.size_bytes)
        query = held.union(erased.where(erasure.c.pack == pack, ~erasure.c.done))
        with self._database.read() as connection:
            rows = connection.execute(query)
            return {row.pack_offset: row.size_bytes for row in rows}

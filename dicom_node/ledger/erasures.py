"""Erasures: the bytes of removed studies, until they are gone.

Those in a pack stay listed when they are gone, until the pack itself is deleted: together with the
rows of instances they are as many as the pack's seal says.
"""

from collections.abc import Collection, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, case, delete, func, literal_column, select, update

from dicom_node.domain.study import Instance
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import erasure, instance, job, result

AT_ONCE = 500
ALONE: ColumnElement[str] = literal_column("''")
"""As the partial index has it: SQLite does not look behind a parameter."""
Place = tuple[str, int]
"""A pack, and where in it."""
T = TypeVar("T")


class Erasures:
    """What is to be erased, and what was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def packs(self) -> list[str]:
        """Every pack that something is still to be erased from."""
        query = select(erasure.c.pack).where(erasure.c.pack != "", ~erasure.c.done).distinct()
        with self._database.read() as connection:
            return list(connection.scalars(query))

    def in_pack(self, pack: str) -> dict[int, int]:
        """Offset and size of what is to be erased from a pack."""
        query = select(erasure.c.pack_offset, erasure.c.size_bytes)
        with self._database.read() as connection:
            rows = connection.execute(query.where(erasure.c.pack == pack, ~erasure.c.done))
            return {row.pack_offset: row.size_bytes for row in rows}

    def erased(self, pack: str, offsets: Collection[int]) -> None:
        """These bytes of a pack are gone."""
        with self._database.write() as connection:
            for some in _parts(sorted(offsets)):
                of_pack = erasure.c.pack == pack, erasure.c.pack_offset.in_(some)
                connection.execute(update(erasure).where(*of_pack).values(done=True))

    def emptied(self) -> dict[str, int]:
        """The packs of which all was erased, and how many instances that were."""
        held = select(instance.c.pack).where(instance.c.pack != "").distinct()
        query = (
            select(erasure.c.pack, func.count())
            .where(erasure.c.pack != "", erasure.c.pack.not_in(held))
            .group_by(erasure.c.pack)
            .having(func.count() == func.count(case((erasure.c.done, 1))))
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def forget(self, pack: str) -> None:
        """A pack is deleted, with all that was erased from it."""
        with self._database.write() as connection:
            connection.execute(delete(erasure).where(erasure.c.pack == pack))

    def files(self) -> set[str]:
        """SHA-256 of the files to be deleted once nothing else has the same bytes."""
        query = select(erasure.c.sha256).where(erasure.c.pack == "")
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def settle(self, files: Collection[str]) -> None:
        """These files are gone, or belong to somebody else."""
        with self._database.write() as connection:
            for some in _parts(sorted(files)):
                alone = erasure.c.pack == "", erasure.c.sha256.in_(some)
                connection.execute(delete(erasure).where(*alone))

    def named(self, files: Collection[str]) -> set[str]:
        """Those of these files that a row names."""
        named: set[str] = set()
        with self._database.read() as connection:
            for some in _parts(sorted(files)):
                for column, *where in (
                    (instance.c.sha256, instance.c.pack == ALONE),
                    (result.c.sha256,),
                    (job.c.report_sha256,),
                ):
                    named.update(connection.scalars(select(column).where(column.in_(some), *where)))
        return named


def are_erased(connection: Connection, arrived: Sequence[Instance]) -> set[Place]:
    """Where bytes of removed studies lie, in the packs in which these instances were found."""
    packs = {each.pack for each in arrived if each.pack}
    query = select(erasure.c.pack, erasure.c.pack_offset).where(erasure.c.pack.in_(packs))
    return {(row.pack, row.pack_offset) for row in connection.execute(query)} if packs else set()


def _parts(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE)]

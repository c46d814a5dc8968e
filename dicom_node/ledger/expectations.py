"""Expectations in the ledger: what others said that a study will hold, and how far it is.

MPPS and IAN name instances; FIND, our question to the PACS, gives a number. A row may come before
the first image of its study.
"""

import time
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from dicom_node.domain.delivery import ARRIVED
from dicom_node.domain.study import StudyState
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import delivery, expectation, instance, job, result, study


class Source(StrEnum):
    """Who says what belongs to a study."""

    MPPS = "MPPS"
    """The modality, of one performed step (PS3.4 section F.7)."""
    IAN = "IAN"
    """An archive, of what can be had from it (PS3.4 annex R)."""
    FIND = "FIND"
    """An archive that was asked (PS3.4 section C.6.2)."""


class Change(StrEnum):
    """What became of a change to a notice."""

    DONE = "DONE"
    UNKNOWN = "UNKNOWN"
    """There is no such notice."""
    CLOSED = "CLOSED"
    """It was final already."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What was received of a study, beside what was announced."""

    missing: int
    """Announced, and not here."""
    settled: bool
    """All that was announced is here and nothing else, and nothing more will be announced."""


class Expectations:
    """Rows of the table ``expectation``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def announce(
        self,
        source: Source,
        notice_uid: str,
        study_instance_uid: str,
        instances: Collection[str],
        *,
        final: bool,
    ) -> bool:
        """Remember a notice; false when it is known already, which changes nothing.

        An empty study UID stands for a notice that cannot be told apart by study.
        """
        values = _values(source, notice_uid, study_instance_uid, instances, final)
        with self._database.write() as connection:
            fresh = self._database.insert_or_skip(expectation).values(values)
            return connection.execute(fresh).rowcount == 1

    def change(
        self,
        source: Source,
        notice_uid: str,
        instances: Collection[str] | None,
        *,
        final: bool,
    ) -> Change:
        """Change a notice that is not final; without ``instances`` those it has stay."""
        values: dict[str, Any] = {"final": final, "at": time.time()}
        if instances is not None:
            values |= {"instances": sorted(instances), "images": len(instances)}
        where = _is(source, notice_uid)
        with self._database.write() as connection:
            open_one = update(expectation).where(where, expectation.c.final.is_(False))
            if connection.execute(open_one.values(**values)).rowcount:
                return Change.DONE
            known = connection.execute(select(expectation.c.final).where(where)).first()
            return Change.CLOSED if known else Change.UNKNOWN

    def counted(self, study_instance_uid: str, count: int, arrivals: int) -> None:
        """Remember what the PACS answered when the study had so many arrivals.

        The same answer twice, with no arrival between, is final: a PACS may itself be receiving.
        """
        values = _values(Source.FIND, study_instance_uid, study_instance_uid, (), False)
        values |= {"images": count, "arrivals": arrivals}
        with self._database.write() as connection:
            where = _is(Source.FIND, study_instance_uid)
            before = connection.execute(select(expectation).where(where)).first()
            same = before is not None and (before.images, before.arrivals) == (count, arrivals)
            values["final"] = same
            change = self._database.insert_or_update(expectation, values, values)
            connection.execute(change)

    def marks(self, sources: Collection[Source]) -> dict[str, Hashable]:
        """Of every study that receives and has expectations: a value that changes with them."""
        columns = (c for c in expectation.c if c.name != "instances")
        query = (
            select(*columns)
            .join(study, study.c.study_instance_uid == expectation.c.study_instance_uid)
            .where(study.c.state == StudyState.RECEIVING, expectation.c.source.in_(sources))
        )
        marks: dict[str, frozenset[tuple[Any, ...]]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                uid = row.study_instance_uid
                marks[uid] = marks.get(uid, frozenset()) | {tuple(row)}
        return dict(marks)

    def standing(
        self, study_instance_uid: str, sources: Collection[Source], archives: Collection[str] = ()
    ) -> Standing | None:
        """How a study stands; none where nothing was announced.

        ``archives``: the destinations that are the PACS that counts, for it counts our results.
        """
        with self._database.read() as connection:
            rows = _rows(connection, study_instance_uid, sources)
            if not rows:
                return None
            kept = _kept(connection, study_instance_uid)
            ours = _ours(connection, study_instance_uid)
            arrivals = _arrivals(connection, study_instance_uid)
            sent = _sent(connection, study_instance_uid, archives)
        named = [row for row in rows if row.source != Source.FIND]
        counted = next((row for row in rows if row.source == Source.FIND), None)
        return _standing(
            by_name=_by_name(named, kept, ours) if named else None,
            by_number=_by_number(counted, len(kept) + sent, arrivals) if counted else None,
            still_open=not all(row.final for row in named),
        )


def _standing(
    by_name: Standing | None, by_number: Standing | None, *, still_open: bool
) -> Standing:
    """The stricter of both for what is missing; either may say that all is here."""
    both = [standing for standing in (by_name, by_number) if standing]
    missing = max(standing.missing for standing in both)
    settled = any(standing.settled for standing in both)
    return Standing(missing, settled and not missing and not still_open)


def _by_name(rows: Iterable[Row[Any]], kept: set[str], ours: set[str]) -> Standing:
    expected = {uid for row in rows for uid in row.instances} - ours
    return Standing(len(expected - kept), expected == kept)


def _by_number(row: Row[Any], here: int, arrivals: int) -> Standing:
    fresh = bool(row.final) and row.arrivals == arrivals
    return Standing(max(0, row.images - here), fresh and row.images == here)


def _values(
    source: Source, notice_uid: str, study_uid: str, instances: Collection[str], final: bool
) -> dict[str, Any]:
    return {
        "source": source,
        "notice_uid": notice_uid,
        "study_instance_uid": study_uid,
        "instances": sorted(instances),
        "images": len(instances),
        "final": final,
        "arrivals": 0,
        "at": time.time(),
    }


def _is(source: Source, notice_uid: str) -> Any:
    return (expectation.c.source == source) & (expectation.c.notice_uid == notice_uid)


def _rows(connection: Connection, uid: str, sources: Collection[Source]) -> Sequence[Row[Any]]:
    query = select(expectation).where(
        expectation.c.study_instance_uid == uid, expectation.c.source.in_(sources)
    )
    return connection.execute(query).all()


def _kept(connection: Connection, uid: str) -> set[str]:
    query = select(instance.c.sop_instance_uid).where(instance.c.study_instance_uid == uid)
    return set(connection.scalars(query))


def _ours(connection: Connection, uid: str) -> set[str]:
    query = select(result.c.sop_instance_uid).join(job).where(job.c.study_instance_uid == uid)
    return set(connection.scalars(query))


def _arrivals(connection: Connection, uid: str) -> int:
    query = select(study.c.arrivals).where(study.c.study_instance_uid == uid)
    return connection.scalar(query) or 0


def _sent(connection: Connection, uid: str, archives: Collection[str]) -> int:
    query = (
        select(func.count(delivery.c.sop_instance_uid.distinct()))
        .join(job, job.c.id == delivery.c.job_id)
        .where(
            job.c.study_instance_uid == uid,
            delivery.c.state.in_(ARRIVED),
            delivery.c.destination.in_(archives),
        )
    )
    return connection.scalar(query) or 0 if archives else 0

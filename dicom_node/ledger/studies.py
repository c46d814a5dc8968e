"""Studies in the ledger: record what arrives, close what is ready."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update

from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import Proposal
from dicom_node.domain.study import Instance, Series, Study, StudyState
from dicom_node.ledger import events, opening
from dicom_node.ledger.database import Database
from dicom_node.ledger.erasures import are_erased
from dicom_node.ledger.removals import begin_anew
from dicom_node.ledger.schema import instance, series, study
from dicom_node.ledger.versions import OURS, is_contested, reopen_contested, versions_of


class Recording(StrEnum):
    """What became of an instance that arrived."""

    NEW = "NEW"
    DUPLICATE = "DUP_SAME"
    """The same bytes are here already."""
    MENDED = "MENDED"
    """They were, but the disk had altered them: what came has taken their place."""
    CONFLICT = "UID_CONFLICT"
    """The same UID with other bytes: both are kept, every study that has one is quarantined."""
    OWN_OUTPUT = "OWN_OUTPUT"
    """A result of this node that came back."""
    REMOVED = "REMOVED"
    """Found in a pack of the past: its study was removed, and nobody sent it again."""


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that still receives: what the sweep watches."""

    study_instance_uid: str
    arrivals: int
    first_received_at: float
    generation: int = 0
    """How often it was closed before with something to do."""


class Studies:
    """Transitions of studies: RECEIVING -> ROUTED, NO_MODEL or QUARANTINED, and back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, arrived: Instance, calling_ae: str) -> Recording:
        """Remember one instance whose bytes are on stable storage; committed on return."""
        return self.record_all([(arrived, calling_ae)])[0]

    def record_all(self, arrivals: Sequence[tuple[Instance, str]]) -> list[Recording]:
        """The same for many, each with who sent it, in one transaction and few statements.

        A study that was held back for ALTERED receives again with what comes again.
        """
        now = time.time()
        with self._database.write() as connection:
            kept = versions_of(connection, [arrived.sop_instance_uid for arrived, _ in arrivals])
            erased = are_erased(connection, [arrived for arrived, _ in arrivals])
            fresh: list[dict[str, Any]] = []
            recordings = []
            for arrived, calling_ae in arrivals:
                versions = kept.setdefault(arrived.sop_instance_uid, set())
                gone = (arrived.pack, arrived.pack_offset) in erased
                recordings.append(Recording.REMOVED if gone else _recording(arrived, versions))
                if recordings[-1] in (Recording.NEW, Recording.CONFLICT):
                    versions.add(arrived.sha256)
                    fresh.append(_instance_row(arrived, calling_ae, now))
            if fresh:
                connection.execute(self._database.insert_or_skip(instance), fresh)
            for uid, count in Counter(row["study_instance_uid"] for row in fresh).items():
                self._touch(connection, uid, count, now)
            reopen_contested(
                connection,
                [
                    arrived.sop_instance_uid
                    for (arrived, _), recording in zip(arrivals, recordings, strict=True)
                    if recording is Recording.CONFLICT
                ],
            )
            again = {
                arrived.study_instance_uid
                for (arrived, _), recording in zip(arrivals, recordings, strict=True)
                if recording is Recording.DUPLICATE
            }
            if again:
                _reopen(connection, "ALTERED", again)
        return recordings

    def _touch(self, connection: Connection, uid: str, count: int, now: float) -> None:
        fresh = {
            "study_instance_uid": uid,
            "state": StudyState.RECEIVING,
            "reason": "",
            "arrivals": count,
            "generation": 0,
            "first_received_at": now,
            "last_received_at": now,
            "attributes": {},
        }
        change = {
            "state": StudyState.RECEIVING,
            "arrivals": study.c.arrivals + count,
            "last_received_at": now,
        }
        connection.execute(self._database.insert_or_update(study, fresh, change))
        begin_anew(connection, uid, count, now)

    def receiving(self) -> list[OpenStudy]:
        """Every study that is not closed."""
        columns = (getattr(study.c, name) for name in OpenStudy.__slots__)
        query = select(*columns).where(study.c.state == StudyState.RECEIVING)
        with self._database.read() as connection:
            return [OpenStudy(*row) for row in connection.execute(query)]

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """What was received under a study UID; where a UID came twice, both."""
        query = (
            select(instance)
            .where(instance.c.study_instance_uid == study_instance_uid)
            .order_by(instance.c.series_instance_uid, instance.c.sop_instance_uid)
        )
        with self._database.read() as connection:
            return [_instance(row) for row in connection.execute(query).mappings()]

    def kept(self, sop_instance_uid: str, sha256: str) -> Instance | None:
        """Where the bytes of a hash lie."""
        query = select(instance).where(instance.c.sop_instance_uid == sop_instance_uid)
        with self._database.read() as connection:
            row = connection.execute(query.where(instance.c.sha256 == sha256)).mappings().first()
            return None if row is None else _instance(row)

    def is_contested(self, study_instance_uid: str) -> bool:
        """Whether one of its images is known with another content, here or in another study."""
        with self._database.read() as connection:
            return is_contested(connection, study_instance_uid)

    def relocate(self, kept: Instance, arrived: Instance) -> bool:
        """Name another copy of the same bytes; false where somebody else has done so."""
        change = (
            update(instance)
            .where(instance.c.sop_instance_uid == kept.sop_instance_uid)
            .where(instance.c.sha256 == kept.sha256)
            .where(instance.c.pack == kept.pack, instance.c.pack_offset == kept.pack_offset)
            .values(pack=arrived.pack, pack_offset=arrived.pack_offset)
        )
        with self._database.write() as connection:
            return connection.execute(change).rowcount == 1

    def close(
        self,
        seen: OpenStudy,
        contents: Study,
        proposals: Sequence[Proposal],
        config_sha256: str,
        *,
        decline: bool = False,
    ) -> list[str]:
        """Freeze the study as it was seen and open its jobs; return the ids of the new jobs.

        A model that already read exactly these images under the same settings gets no second job.
        Jobs of an earlier generation that are not finished are cancelled. ``decline``: where no
        model wants the study, a DECLINED job says so.
        Raises ``LedgerConflict`` when an image arrived since ``seen``, or is contested.
        """
        uid = seen.study_instance_uid
        wanted = [p for p in proposals if p.inputs]
        with self._database.write() as connection:
            if is_contested(connection, uid):
                raise LedgerConflict(f"study {uid} has an image that another study has changed")
            row = self._settle(connection, seen, contents, bool(wanted))
            events.write(connection, uid, "study.closed", reason="" if wanted else "NO_MODEL")
            generation = row["generation"] + 1
            known = [opening.known(connection, uid, p, config_sha256) for p in wanted]
            fresh = [p for p, job_id in zip(wanted, known, strict=True) if job_id is None]
            opening.trace(connection, uid, generation, proposals)
            opening.cancel_unfinished(connection, uid, [job_id for job_id in known if job_id])
            opened = [
                opening.open_job(connection, uid, generation, p, config_sha256) for p in fresh
            ]
            if opened or not wanted:
                opening.advance(connection, uid, generation)
            if decline and not wanted:
                opening.decline(connection, contents, generation, config_sha256, "NO_MODEL")
            return opened

    def quarantine(
        self, seen: OpenStudy, contents: Study, reason: str, declined_under: str = ""
    ) -> None:
        """Close a study that contradicts itself; nothing is analysed until more arrives.

        ``declined_under``: hash of the settings under which a DECLINED job says so; empty: none.
        """
        with self._database.write() as connection:
            row = self._settle(connection, seen, contents, wanted=False)
            if declined_under:
                generation = row["generation"] + 1
                opening.advance(connection, seen.study_instance_uid, generation)
                opening.decline(connection, contents, generation, declined_under, reason)
            values = {"state": StudyState.QUARANTINED, "reason": reason}
            where = study.c.study_instance_uid == seen.study_instance_uid
            connection.execute(update(study).where(where).values(values))
            events.write(connection, seen.study_instance_uid, "study.quarantined", reason=reason)

    def held_back(self, reason: str) -> list[str]:
        """UIDs of the studies that are QUARANTINED for a reason."""
        with self._database.read() as connection:
            return list(connection.scalars(select(study.c.study_instance_uid).where(_held(reason))))

    def reopen(self, reason: str, uids: Collection[str] | None = None) -> list[str]:
        """QUARANTINED for a reason -> RECEIVING, to be closed anew; the UIDs of these studies.

        ``uids``: no others than these.
        """
        with self._database.write() as connection:
            return _reopen(connection, reason, uids)

    def _settle(
        self, connection: Connection, seen: OpenStudy, contents: Study, wanted: bool
    ) -> RowMapping:
        uid = seen.study_instance_uid
        row = (
            connection.execute(
                select(study).where(study.c.study_instance_uid == uid).with_for_update()
            )
            .mappings()
            .one()
        )
        if row["state"] != StudyState.RECEIVING or row["arrivals"] != seen.arrivals:
            raise LedgerConflict(f"study {uid} received more images while it was being closed")
        values = {
            "state": StudyState.ROUTED if wanted else StudyState.NO_MODEL,
            "reason": "" if wanted else "NO_MODEL",
            "attributes": dict(contents.attributes),
        }
        connection.execute(update(study).where(study.c.study_instance_uid == uid).values(values))
        _write_series(connection, uid, contents.series)
        return row


def _held(reason: str) -> ColumnElement[bool]:
    return (study.c.state == StudyState.QUARANTINED) & (study.c.reason == reason)


def _reopen(connection: Connection, reason: str, uids: Collection[str] | None) -> list[str]:
    only = () if uids is None else (study.c.study_instance_uid.in_(uids),)
    change = (
        update(study)
        .where(_held(reason), *only)
        .values(state=StudyState.RECEIVING, reason="")
        .returning(study.c.study_instance_uid)
    )
    reopened = list(connection.scalars(change))
    for uid in reopened:
        events.write(connection, uid, "study.reopened")
    return reopened


def _recording(arrived: Instance, versions: set[str]) -> Recording:
    if OURS in versions:
        return Recording.OWN_OUTPUT
    if arrived.sha256 in versions:
        return Recording.DUPLICATE
    return Recording.CONFLICT if versions else Recording.NEW


def _instance_row(arrived: Instance, calling_ae: str, now: float) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(arrived, name) for name in Instance.__slots__}
    return row | {"calling_ae": calling_ae, "received_at": now}


def _instance(row: Mapping[Any, Any]) -> Instance:
    return Instance(**{name: row[name] for name in Instance.__dataclass_fields__})


def _write_series(connection: Connection, uid: str, contents: Sequence[Series]) -> None:
    connection.execute(delete(series).where(series.c.study_instance_uid == uid))
    rows = [
        {
            "study_instance_uid": uid,
            "series_instance_uid": s.series_instance_uid,
            "attributes": dict(s.attributes),
        }
        for s in contents
    ]
    if rows:
        connection.execute(insert(series), rows)

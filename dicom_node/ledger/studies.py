"""Studies in the ledger: record what arrives, close what is ready."""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import JobState, Proposal, SelectedSeries
from dicom_node.domain.study import Instance, Series, Study, StudyState
from dicom_node.ledger import events
from dicom_node.ledger.database import Database
from dicom_node.ledger.schema import instance, job, result, selection, series, study


class Recording(StrEnum):
    """What became of an instance that arrived."""

    NEW = "NEW"
    DUPLICATE = "DUP_SAME"
    """The same bytes are here already."""
    CONFLICT = "UID_CONFLICT"
    """The same UID with other bytes: both are kept, the study is quarantined."""
    OWN_OUTPUT = "OWN_OUTPUT"
    """A result of this node that came back."""


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that still receives: what the sweep watches."""

    study_instance_uid: str
    arrivals: int
    first_received_at: float


class Studies:
    """Transitions of studies: RECEIVING -> ROUTED, NO_MODEL or QUARANTINED, and back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, arrived: Instance, calling_ae: str) -> Recording:
        """Remember one instance whose bytes are on stable storage; committed on return."""
        return self.record_all([(arrived, calling_ae)])[0]

    def record_all(self, arrivals: Sequence[tuple[Instance, str]]) -> list[Recording]:
        """The same for many, each with who sent it, in one transaction and few statements."""
        now = time.time()
        with self._database.write() as connection:
            kept = _versions(connection, [arrived.sop_instance_uid for arrived, _ in arrivals])
            fresh: list[dict[str, Any]] = []
            recordings = []
            for arrived, calling_ae in arrivals:
                versions = kept.setdefault(arrived.sop_instance_uid, set())
                recordings.append(_recording(arrived, versions))
                if recordings[-1] in (Recording.NEW, Recording.CONFLICT):
                    versions.add(arrived.sha256)
                    fresh.append(_instance_row(arrived, calling_ae, now))
            if fresh:
                connection.execute(self._database.insert_or_skip(instance), fresh)
            for uid, count in Counter(row["study_instance_uid"] for row in fresh).items():
                self._touch(connection, uid, count, now)
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

    def receiving(self) -> list[OpenStudy]:
        """Every study that is not closed."""
        columns = (study.c.study_instance_uid, study.c.arrivals, study.c.first_received_at)
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

    def close(
        self,
        seen: OpenStudy,
        contents: Study,
        proposals: Sequence[Proposal],
        config_sha256: str,
    ) -> list[str]:
        """Freeze the study as it was seen and open its jobs; return the ids of the new jobs.

        A model that already read exactly these images under the same settings gets no second job.
        Jobs of an earlier generation that are not finished are cancelled.
        Raises ``LedgerConflict`` when an image arrived since ``seen``.
        """
        uid = seen.study_instance_uid
        wanted = [p for p in proposals if p.inputs]
        with self._database.write() as connection:
            row = self._settle(connection, seen, contents, bool(wanted))
            generation = row["generation"] + 1
            known = [_known(connection, uid, p, config_sha256) for p in wanted]
            fresh = [p for p, job_id in zip(wanted, known, strict=True) if job_id is None]
            _trace(connection, uid, generation, proposals)
            _supersede(connection, uid, [job_id for job_id in known if job_id])
            opened = [_open(connection, uid, generation, p, config_sha256) for p in fresh]
            if opened or not wanted:
                _advance(connection, uid, generation)
            return opened

    def quarantine(self, seen: OpenStudy, contents: Study, reason: str) -> None:
        """Close a study that contradicts itself; nothing is analysed until more arrives."""
        with self._database.write() as connection:
            self._settle(connection, seen, contents, wanted=False)
            values = {"state": StudyState.QUARANTINED, "reason": reason}
            where = study.c.study_instance_uid == seen.study_instance_uid
            connection.execute(update(study).where(where).values(values))
            events.write(connection, seen.study_instance_uid, "study.quarantined", reason=reason)

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
        reason = "" if wanted else "NO_MODEL"
        values = {
            "state": StudyState.ROUTED if wanted else StudyState.NO_MODEL,
            "reason": reason,
            "attributes": dict(contents.attributes),
        }
        connection.execute(update(study).where(study.c.study_instance_uid == uid).values(values))
        _write_series(connection, uid, contents.series)
        events.write(connection, uid, "study.closed", reason=reason)
        return row


def _advance(connection: Connection, uid: str, generation: int) -> None:
    connection.execute(
        update(study).where(study.c.study_instance_uid == uid).values(generation=generation)
    )


def _supersede(connection: Connection, uid: str, valid: Sequence[str]) -> None:
    """Cancel what still waits or runs, but for the jobs that read just what is wanted now."""
    unfinished = (
        (job.c.study_instance_uid == uid)
        & job.c.id.not_in(valid)
        & job.c.state.in_((JobState.READY, JobState.ANALYSING))
    )
    values = {"state": JobState.CANCELLED, "reason": "SUPERSEDED", "token": ""}
    cancelled = connection.scalars(update(job).where(unfinished).values(values).returning(job.c.id))
    for job_id in cancelled.all():
        events.write(connection, uid, "job.cancelled", job_id=job_id, reason="SUPERSEDED")


def input_sha256(inputs: Sequence[SelectedSeries]) -> str:
    """Identity of the images a job reads: UIDs and bytes."""
    plain = [[s.series_instance_uid, s.instances] for s in inputs]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


OURS = "OURS"
"""Stands for a version that is a result of this node."""
MOST_PARAMETERS = 500


def _versions(connection: Connection, uids: Sequence[str]) -> dict[str, set[str]]:
    """What is known of each UID: the hashes of its contents, and whether we made it."""
    known: dict[str, set[str]] = {}
    for start in range(0, len(uids), MOST_PARAMETERS):
        some = uids[start : start + MOST_PARAMETERS]
        columns = instance.c.sop_instance_uid, instance.c.sha256
        for uid, sha256 in connection.execute(select(*columns).where(columns[0].in_(some))):
            known.setdefault(uid, set()).add(sha256)
        ours = select(result.c.sop_instance_uid).where(result.c.sop_instance_uid.in_(some))
        for uid in connection.scalars(ours):
            known.setdefault(uid, set()).add(OURS)
    return known


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


def _known(connection: Connection, uid: str, proposal: Proposal, config_sha256: str) -> str | None:
    """Id of a job of the same work, if there is one; a cancelled one never ran to its end."""
    query = select(job.c.id).where(
        job.c.study_instance_uid == uid,
        job.c.bundle_sha256 == proposal.bundle_sha256,
        job.c.config_sha256 == config_sha256,
        job.c.input_sha256 == input_sha256(proposal.inputs),
        job.c.state != JobState.CANCELLED,
    )
    return connection.scalar(query)


def _trace(
    connection: Connection, uid: str, generation: int, proposals: Sequence[Proposal]
) -> None:
    rows = [
        asdict(choice)
        | {
            "study_instance_uid": uid,
            "generation": generation,
            "model_name": p.model_name,
            "model_version": p.model_version,
        }
        for p in proposals
        for choice in p.selection
    ]
    where = (selection.c.study_instance_uid == uid) & (selection.c.generation == generation)
    connection.execute(delete(selection).where(where))
    if rows:
        connection.execute(insert(selection), rows)


def _open(
    connection: Connection, uid: str, generation: int, proposal: Proposal, config_sha256: str
) -> str:
    now = time.time()
    job_id = str(uuid.uuid4())
    values = {
        "id": job_id,
        "study_instance_uid": uid,
        "generation": generation,
        "model_name": proposal.model_name,
        "model_version": proposal.model_version,
        "bundle_sha256": proposal.bundle_sha256,
        "config_sha256": config_sha256,
        "input_sha256": input_sha256(proposal.inputs),
        "inputs": [asdict(s) for s in proposal.inputs],
        "state": JobState.READY,
        "reason": "",
        "attempt": 0,
        "token": "",
        "beat": 0,
        "opened_at": now,
        "updated_at": now,
        "next_at": 0.0,
        "summary": {},
        "report_sha256": "",
    }
    connection.execute(insert(job).values(values))
    events.write(connection, uid, "job.opened", job_id=job_id)
    return job_id

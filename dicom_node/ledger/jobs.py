"""Jobs in the ledger: one function for each transition that domain/job.py draws."""

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Update, insert, select, update

from dicom_node.domain.delivery import DeliveryState, ResultKind, StoredResult
from dicom_node.domain.errors import LedgerConflict
from dicom_node.domain.job import (
    MAX_ATTEMPTS,
    TRANSITIONS,
    Claim,
    Job,
    JobState,
    SelectedSeries,
    SeriesChoice,
)
from dicom_node.ledger import breaker, events
from dicom_node.ledger.database import Database
from dicom_node.ledger.pauses import DUE, due, put_off
from dicom_node.ledger.schema import delivery, job, result, selection
from dicom_node.ledger.succession import supersede

Readers = Mapping[str, Collection[str]]
"""Of results that are not for all who take their kind, by SOP Instance UID: the destinations."""


class Jobs:
    """Who may work on what; a token guards every write of the one who claimed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Job:
        """One job, its frozen inputs and selection trace; ``LedgerConflict`` if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(job).where(job.c.id == job_id)).mappings().first()
            if row is None:
                raise LedgerConflict(f"no job {job_id} in this ledger")
            return _job(row, _choices(connection, row))

    def waiting(self) -> list[str]:
        """Ids of the jobs that may be claimed now, oldest first."""
        query = select(job.c.id).where(
            job.c.state == JobState.READY, due(job.c.next_at), _may_run()
        )
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(job.c.opened_at)))

    def beats(self) -> dict[str, tuple[str, int]]:
        """Of every claimed job: its token and its heartbeat counter."""
        query = select(job.c.id, job.c.token, job.c.beat).where(job.c.state == JobState.ANALYSING)
        with self._database.read() as connection:
            return {row.id: (row.token, row.beat) for row in connection.execute(query)}

    def claim(self, job_id: str) -> Claim | None:
        """READY -> ANALYSING, committed before any pixel is touched; none if another has it."""
        token = str(uuid.uuid4())
        values = {"attempt": job.c.attempt + 1, "token": token, "beat": 0, "reason": ""}
        change = _move(JobState.READY, JobState.ANALYSING, values).where(
            job.c.id == job_id, due(job.c.next_at), _may_run()
        )
        with self._database.write() as connection:
            row = connection.execute(
                change.returning(job.c.attempt, job.c.study_instance_uid)
            ).first()
            if row is None:
                return None
            events.write(connection, row.study_instance_uid, "job.claimed", job_id=job_id)
            return Claim(job_id, token, row.attempt)

    def beat(self, claim: Claim) -> None:
        """Say that the claim lives; ``LedgerConflict`` once it was lost."""
        change = (
            update(job)
            .where(job.c.id == claim.id, job.c.token == claim.token)
            .where(job.c.state == JobState.ANALYSING)
            .values(beat=job.c.beat + 1)
        )
        with self._database.write() as connection:
            if connection.execute(change).rowcount != 1:
                raise LedgerConflict(f"the claim on job {claim.id} was lost")

    def complete(
        self,
        claim: Claim,
        results: Sequence[StoredResult],
        destinations: Mapping[str, Sequence[ResultKind]],
        *,
        summary: Mapping[str, Any],
        report_sha256: str,
        readers: Readers = MappingProxyType({}),
    ) -> None:
        """ANALYSING -> ANALYSED with all results and one delivery row an object and destination.

        One transaction guarded by the token; ``LedgerConflict`` for who lost the claim.
        ``destinations`` maps a name to the kinds it takes.
        """
        values = {"summary": dict(summary), "report_sha256": report_sha256}
        with self._database.write() as connection:
            self._leave(connection, claim, JobState.ANALYSED, "", values)
            row = connection.execute(select(job).where(job.c.id == claim.id)).mappings().one()
            supersede(connection, row)
            add_results(connection, claim.id, results, destinations, readers)

    def fail(self, claim: Claim, reason: str) -> None:
        """ANALYSING -> FAILED: the model cannot be used here."""
        with self._database.write() as connection:
            self._leave(connection, claim, JobState.FAILED, reason, {})

    def quarantine(self, claim: Claim, reason: str) -> None:
        """ANALYSING -> QUARANTINED at once: no further try will help."""
        with self._database.write() as connection:
            self._leave(connection, claim, JobState.QUARANTINED, reason, {})

    def release(self, claim: Claim, reason: str, *, pause_s: float = 0) -> None:
        """ANALYSING -> READY, or QUARANTINED when the attempts are used up.

        For whoever holds the claim and met something transient, and for the sweep that found the
        claim dead. ``LedgerConflict`` if the claim has moved on.
        """
        spent = claim.attempt >= MAX_ATTEMPTS
        state = JobState.QUARANTINED if spent else JobState.READY
        with self._database.write() as connection:
            self._leave(connection, claim, state, reason, put_off(pause_s))

    def postpone(self, claim: Claim, reason: str, pause_s: float) -> None:
        """ANALYSING -> READY: what the disk did not take is no try of the study's."""
        values = {**put_off(pause_s), "attempt": claim.attempt - 1}
        with self._database.write() as connection:
            self._leave(connection, claim, JobState.READY, reason, values)

    def abandoned(self, job_id: str, token: str) -> Claim | None:
        """The claim behind a token, for the sweep to release; none if it has moved on."""
        query = select(job.c.attempt).where(job.c.id == job_id, job.c.token == token)
        with self._database.read() as connection:
            attempt = connection.scalar(query)
        return None if attempt is None else Claim(job_id, token, attempt)

    def retry(self, job_id: str) -> bool:
        """A person's word: FAILED, QUARANTINED or CANCELLED -> READY with one more attempt.

        Its model runs again, if it was paused.
        """
        states = [s for s, to in TRANSITIONS.items() if JobState.READY in to]
        states.remove(JobState.ANALYSING)
        change = (
            update(job)
            .where(job.c.id == job_id, job.c.state.in_(states))
            .values(
                state=JobState.READY,
                reason="",
                attempt=MAX_ATTEMPTS - 1,
                next_at=DUE,
                updated_at=time.time(),
            )
            .returning(job.c.study_instance_uid, job.c.bundle_sha256)
        )
        with self._database.write() as connection:
            row = connection.execute(change).first()
            if row is not None:
                breaker.forgive(connection, row.bundle_sha256)
                events.write(connection, row.study_instance_uid, "job.retried", job_id=job_id)
            return row is not None

    def _leave(
        self,
        connection: Connection,
        claim: Claim,
        state: JobState,
        reason: str,
        values: Mapping[str, Any],
    ) -> None:
        change = _move(JobState.ANALYSING, state, {"reason": reason, "token": "", **values})
        change = change.where(job.c.id == claim.id, job.c.token == claim.token)
        uid = connection.scalar(change.returning(job.c.study_instance_uid))
        if uid is None:
            raise LedgerConflict(f"the claim on job {claim.id} was lost")
        breaker.count(connection, self._database, claim.id, state, reason)
        action = f"job.{state.lower()}"
        events.write(connection, uid, action, job_id=claim.id, reason=reason)


def _may_run() -> Any:
    return job.c.bundle_sha256.not_in(breaker.of_paused_models())


def _move(before: JobState, after: JobState, values: Mapping[str, Any]) -> Update:
    if after not in TRANSITIONS[before]:
        raise ValueError(f"a job cannot go from {before} to {after}")
    return (
        update(job)
        .where(job.c.state == before)
        .values({"state": after, "updated_at": time.time(), **values})
    )


def _job(row: Mapping[Any, Any], choices: tuple[SeriesChoice, ...]) -> Job:
    plain = ("id", "study_instance_uid", "generation", "model_name", "model_version")
    hashes = ("bundle_sha256", "config_sha256", "input_sha256", "attempt", "reason")
    return Job(
        **{name: row[name] for name in plain + hashes},
        inputs=tuple(_selected(s) for s in row["inputs"]),
        selection=choices,
        state=JobState(row["state"]),
        opened_at=datetime.fromtimestamp(row["opened_at"], UTC),
    )


def _selected(plain: Mapping[str, Any]) -> SelectedSeries:
    pairs = tuple((uid, sha256) for uid, sha256 in plain["instances"])
    return SelectedSeries(plain["series_instance_uid"], pairs)


def _choices(connection: Connection, row: Mapping[Any, Any]) -> tuple[SeriesChoice, ...]:
    """The model's own; of a job that no model may have, every model's, with its name."""
    declined = row["state"] == JobState.DECLINED
    names = tuple(SeriesChoice.__dataclass_fields__)
    query = (
        select(selection)
        .where(selection.c.study_instance_uid == row["study_instance_uid"])
        .where(selection.c.generation == row["generation"])
        .order_by(selection.c.id)
    )
    if not declined:
        query = query.where(selection.c.model_name == row["model_name"])
        query = query.where(selection.c.model_version == row["model_version"])
    choices = []
    for choice in connection.execute(query).mappings():
        values = {name: choice[name] for name in names}
        if declined:
            model = f"{choice['model_name']}@{choice['model_version']}"
            values["reason"] = f"{model}: {choice['reason']}"
        choices.append(SeriesChoice(**values))
    return tuple(choices)


def add_results(
    connection: Connection,
    job_id: str,
    results: Sequence[StoredResult],
    destinations: Mapping[str, Sequence[ResultKind]],
    readers: Readers = MappingProxyType({}),
) -> None:
    """Add results to a job, and a delivery of each to every destination that is to get it."""
    for stored in results:
        values = asdict(stored) | {"job_id": job_id, "superseded_by": ""}
        connection.execute(insert(result).values(values))
    rows = [
        _delivery_row(job_id, stored, name)
        for name, kinds in destinations.items()
        for stored in results
        if stored.kind in kinds and name in readers.get(stored.sop_instance_uid, (name,))
    ]
    if rows:
        connection.execute(insert(delivery), rows)


def _delivery_row(job_id: str, stored: StoredResult, destination: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "job_id": job_id,
        "sop_instance_uid": stored.sop_instance_uid,
        "destination": destination,
        "state": DeliveryState.READY,
        "reason": "",
        "attempt": 0,
        "token": "",
        "beat": 0,
        "updated_at": time.time(),
        "next_at": DUE,
    }

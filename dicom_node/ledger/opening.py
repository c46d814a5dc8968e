"""The opening of jobs, inside the transaction that closes their study."""

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from dicom_node import __version__
from dicom_node.domain.job import NODE, JobState, Proposal, SelectedSeries
from dicom_node.domain.study import Study
from dicom_node.ledger import events
from dicom_node.ledger.pauses import DUE
from dicom_node.ledger.schema import job, selection, study

NODE_SHA256 = hashlib.sha256(f"{NODE}@{__version__}".encode()).hexdigest()
"""Stands for a bundle's hash in a job that no model may have."""


def input_sha256(inputs: Sequence[SelectedSeries]) -> str:
    """Identity of the images a job reads: UIDs and bytes."""
    plain = [[s.series_instance_uid, s.instances] for s in inputs]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def known(connection: Connection, uid: str, proposal: Proposal, config_sha256: str) -> str | None:
    """Id of a job of the same work, if there is one; a cancelled one never ran to its end."""
    query = select(job.c.id).where(
        job.c.study_instance_uid == uid,
        job.c.bundle_sha256 == proposal.bundle_sha256,
        job.c.config_sha256 == config_sha256,
        job.c.input_sha256 == input_sha256(proposal.inputs),
        job.c.state != JobState.CANCELLED,
    )
    return connection.scalar(query)


def open_job(
    connection: Connection,
    uid: str,
    generation: int,
    proposal: Proposal,
    config_sha256: str,
    declined: str = "",
) -> str:
    """A READY job of a proposal, or a DECLINED one with the reason; returns its id."""
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
        "state": JobState.DECLINED if declined else JobState.READY,
        "reason": declined,
        "attempt": 0,
        "token": "",
        "beat": 0,
        "opened_at": now,
        "updated_at": now,
        "next_at": DUE,
        "summary": {},
        "report_sha256": "",
        "answered": "",
        "rejected": False,
    }
    connection.execute(insert(job).values(values))
    action = "job.declined" if declined else "job.opened"
    events.write(connection, uid, action, job_id=job_id, reason=declined)
    return job_id


def decline(
    connection: Connection, contents: Study, generation: int, config_sha256: str, reason: str
) -> None:
    """A job for nobody, over all images of the study: the node answers for it."""
    everything = tuple(map(SelectedSeries.whole, contents.series))
    node = Proposal(NODE, __version__, NODE_SHA256, everything, ())
    uid = contents.study_instance_uid
    open_job(connection, uid, generation, node, config_sha256, declined=reason)


def trace(connection: Connection, uid: str, generation: int, proposals: Sequence[Proposal]) -> None:
    """Keep why each model took or left each series."""
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


def cancel_unfinished(connection: Connection, uid: str, valid: Sequence[str]) -> None:
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


def advance(connection: Connection, uid: str, generation: int) -> None:
    """Make this the study's generation."""
    connection.execute(
        update(study).where(study.c.study_instance_uid == uid).values(generation=generation)
    )

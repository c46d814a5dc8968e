"""A ledger with a past: a job for each study, its results and their deliveries."""

import uuid
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from sqlalchemy import insert, select

from dicom_node.domain.delivery import DeliveryState, ResultKind
from dicom_node.domain.job import JobState
from dicom_node.ledger import Ledger
from dicom_node.ledger.schema import delivery, job, result, study

SHA256 = "0" * 64
AT_ONCE, OBJECTS, REJECTED_EACH = 2000, 6, 20
PAST = (*7 * (JobState.DECLINED,), *2 * (JobState.ANALYSED,), JobState.QUARANTINED)
"""Of a node beside a PACS: most studies are not what its models read."""
Row = Mapping[str, Any]


def add_past(
    ledger: Ledger,
    states: Sequence[JobState] = PAST,
    sent: Sequence[DeliveryState] = (DeliveryState.SENT,),
) -> None:
    """Jobs and deliveries in these states by turns.

    All failures were answered; of the analyses some were rejected, and a note was sent.
    """
    with ledger.database.write() as connection:
        uids = connection.scalars(select(study.c.study_instance_uid))
        jobs = [_job(uid, n, state) for n, (uid, state) in enumerate(zip(uids, cycle(states)))]
        results = [_result(each, n) for each in jobs for n in range(_objects(each))]
        deliveries = [_delivery(each, now) for each, now in zip(results, cycle(sent))]
        for table, rows in ((job, jobs), (result, results), (delivery, deliveries)):
            for start in range(0, len(rows), AT_ONCE):
                connection.execute(insert(table), rows[start : start + AT_ONCE])


def _objects(each: Row) -> int:
    return OBJECTS if each["state"] is JobState.ANALYSED else 1


def _job(uid: str, number: int, state: JobState) -> Row:
    reason = "" if state is JobState.ANALYSED else "NOT_ELIGIBLE"
    return {
        "id": str(uuid.uuid4()), "study_instance_uid": uid, "generation": 1,
        "model_name": "model", "model_version": "1", "bundle_sha256": SHA256,
        "config_sha256": SHA256, "input_sha256": SHA256,
        "inputs": [{"series_instance_uid": uid, "files": 50 * [SHA256]}],
        "state": state, "reason": reason, "attempt": 1, "token": "", "beat": 0,
        "opened_at": number, "updated_at": number, "next_at": 0,
        "summary": {"words": "x" * 300}, "report_sha256": "", "answered": reason,
        "rejected": state is JobState.ANALYSED and number % REJECTED_EACH == REJECTED_EACH - 3,
    }  # fmt: skip


def _result(of: Row, position: int) -> Row:
    is_note = of["rejected"] and position == OBJECTS - 1
    return {
        "sop_instance_uid": f"2.25.{uuid.uuid4().int}", "job_id": of["id"],
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34", "series_instance_uid": "2.25.1",
        "series_description": "", "position": position, "sha256": SHA256, "size_bytes": 1,
        "kind": ResultKind.REJECTION_NOTE if is_note else ResultKind.STRUCTURED_REPORT,
        "superseded_by": "",
    }  # fmt: skip


def _delivery(of: Row, state: DeliveryState) -> Row:
    return {
        "id": str(uuid.uuid4()), "job_id": of["job_id"],
        "sop_instance_uid": of["sop_instance_uid"], "destination": "pacs", "state": state,
        "reason": "", "attempt": 1, "token": "", "beat": 0, "updated_at": 0, "next_at": 0,
    }  # fmt: skip

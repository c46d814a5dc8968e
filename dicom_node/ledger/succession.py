"""Which results take the place of which: what is written inside the transaction that adds them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, update

from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.job import JobState
from dicom_node.ledger import events
from dicom_node.ledger.schema import job, result

Row = Mapping[Any, Any]


def standing(connection: Connection, row: Row) -> list[Row]:
    """The results that new results of a job take the place of, in the order of sending.

    They are the same model's of earlier generations, answers that no model gave, and, of the job
    itself, an answer that it got before a person ordered it again.
    """
    query = (
        select(result)
        .join(job, job.c.id == result.c.job_id)
        .where(_earlier(row), result.c.superseded_by == "")
        .where(result.c.kind != ResultKind.REJECTION_NOTE)
        .order_by(job.c.generation, result.c.position)
    )
    return list(connection.execute(query).mappings())


def supersede(connection: Connection, row: Row) -> None:
    """Mark them; to be called before the new results are added."""
    uids = {old["sop_instance_uid"]: old["job_id"] for old in standing(connection, row)}
    for uid in uids:
        change = update(result).where(result.c.sop_instance_uid == uid)
        connection.execute(change.values(superseded_by=row["id"]))
    for job_id in sorted(set(uids.values()) - {row["id"]}):
        events.write(connection, row["study_instance_uid"], "job.superseded", job_id=job_id)


def _earlier(row: Row) -> ColumnElement[bool]:
    same = or_(job.c.model_name == row["model_name"], job.c.state == JobState.DECLINED)
    before = job.c.generation < row["generation"]
    of_study = job.c.study_instance_uid == row["study_instance_uid"]
    declined = row["state"] == JobState.DECLINED
    earlier: ColumnElement[bool] = of_study & or_(
        job.c.id == row["id"], before if declined else before & same
    )
    return earlier

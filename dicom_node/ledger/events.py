"""What happened, in order: the time line that the pages show. UIDs and reason codes only."""

import time

from sqlalchemy import Connection, insert

from dicom_node.ledger.schema import event


def write(
    connection: Connection,
    study_instance_uid: str,
    action: str,
    *,
    job_id: str = "",
    reason: str = "",
) -> None:
    """Add a line to a study's history, in the transaction of the transition it tells of."""
    connection.execute(
        insert(event).values(
            at=time.time(),
            study_instance_uid=study_instance_uid,
            job_id=job_id,
            action=action,
            reason=reason,
        )
    )

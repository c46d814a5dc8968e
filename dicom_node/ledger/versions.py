"""The contents that are known of a SOP Instance UID.

Where there are two, in one study or in two, nobody knows which is right: no study that has one of
them is analysed.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from dicom_node.domain.study import StudyState
from dicom_node.ledger.schema import instance, result, study

OURS = "OURS"
"""Stands for a version that is a result of this node."""
MOST_PARAMETERS = 500


def versions_of(connection: Connection, uids: Sequence[str]) -> dict[str, set[str]]:
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


def is_contested(connection: Connection, study_instance_uid: str) -> bool:
    """Whether an image of the study is known with another content, here or in another study."""
    other = instance.alias()
    same_uid = other.c.sop_instance_uid == instance.c.sop_instance_uid
    query = (
        select(other.c.sha256)
        .select_from(instance.join(other, same_uid & (other.c.sha256 != instance.c.sha256)))
        .where(instance.c.study_instance_uid == study_instance_uid)
        .limit(1)
    )
    return connection.scalar(query) is not None


def reopen_contested(connection: Connection, sop_instance_uids: Sequence[str]) -> None:
    """Every study that has an image of these UIDs -> RECEIVING, to be closed anew."""
    for start in range(0, len(sop_instance_uids), MOST_PARAMETERS):
        some = sop_instance_uids[start : start + MOST_PARAMETERS]
        having = select(instance.c.study_instance_uid).where(instance.c.sop_instance_uid.in_(some))
        change = update(study).where(study.c.study_instance_uid.in_(having))
        connection.execute(change.values(state=StudyState.RECEIVING))

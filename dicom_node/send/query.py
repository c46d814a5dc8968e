"""C-FIND SCU: how many instances an archive has of a study, and whether it has one (PS3.4 section
C.6.2, study root)."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node.domain.errors import PeerUnreachable
from dicom_node.send.cstore import NothingAccepted, Outgoing, Peer

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ANSWER_TIMEOUT_S = 10.0
MOST_ANSWERS, MOST_INSTANCES = 10, 1000
"""An archive that cannot match by UID would send its whole worklist, or the whole series."""
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)


def instance_counts(peer: Peer, study_instance_uids: Sequence[str]) -> dict[str, int]:
    """NumberOfStudyRelatedInstances by study, for those that the archive knows and counts.

    Raises ``PeerUnreachable`` when it does not answer, or not in time.
    """
    contexts = [build_context(STUDY_ROOT_FIND)]
    try:
        with Outgoing(peer, contexts, dimse_timeout_s=ANSWER_TIMEOUT_S) as association:
            found = {uid: _count(association, uid) for uid in study_instance_uids}
    except NothingAccepted:
        raise PeerUnreachable(f"{peer.ae_title} does not take C-FIND of the study root") from None
    except RuntimeError:
        raise PeerUnreachable(f"{peer.ae_title} broke off the association") from None
    return {uid: count for uid, count in found.items() if count is not None}


def _count(association: Association, uid: str) -> int | None:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid
    query.NumberOfStudyRelatedInstances = None
    count = None
    for number, (status, found) in enumerate(association.send_c_find(query, STUDY_ROOT_FIND)):
        if "Status" not in status:
            raise PeerUnreachable("no answer to C-FIND in time")
        if number >= MOST_ANSWERS:
            raise PeerUnreachable("more answers to C-FIND than one study can have")
        if status.Status in PENDING and found is not None and count is None:
            count = _number(found, uid)
    return count


def has_instance(
    association: Association, study_uid: str, series_uid: str, uid: str
) -> bool | None:
    """Whether an archive has an instance; none: it does not say.

    Raises ``PeerUnreachable`` when it does not answer in time, or without an end.
    """
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "IMAGE", study_uid
    query.SeriesInstanceUID, query.SOPInstanceUID = series_uid, uid
    has = False
    for number, (status, found) in enumerate(association.send_c_find(query, STUDY_ROOT_FIND)):
        if "Status" not in status or number >= MOST_INSTANCES:
            raise PeerUnreachable("no answer to C-FIND in time, or no end of answers")
        if status.Status in PENDING:
            has = has or (found is not None and str(found.get("SOPInstanceUID")) == uid)
        elif status.Status != SUCCESS:
            return has or None
    return has


def _number(found: Dataset, uid: str) -> int | None:
    """What an answer says; none where it is of another study or makes no sense."""
    try:
        number = int(found.NumberOfStudyRelatedInstances)
        same = str(found.StudyInstanceUID) == uid
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    return number if same and 0 < number < 1_000_000 else None

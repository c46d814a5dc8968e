"""When is a study ready? After a quiet period, or at the latest at a deadline.

DICOM has no end of study: a closed association means nothing, and one study may come over several
(PS3.4 section B). Both times are measured by the monotonic clock of whoever watches.
"""

from collections.abc import Sequence

from dicom_node.ledger import OpenStudy
from dicom_node.settings import Completeness
from dicom_node.watch import Watch


class Readiness:
    """Watches the studies that receive, and names those that are ready."""

    def __init__(self, settings: Completeness) -> None:
        self._settings = settings
        self._quiet = Watch()
        self._open = Watch()

    def ready(self, receiving: Sequence[OpenStudy], now: float) -> list[OpenStudy]:
        """The studies that are to be closed now; ``now`` is a monotonic time in seconds."""
        uids = [study.study_instance_uid for study in receiving]
        self._quiet.keep_only(uids)
        self._open.keep_only(uids)
        return [study for study in receiving if self._is_ready(study, now)]

    def _is_ready(self, study: OpenStudy, now: float) -> bool:
        uid = study.study_instance_uid
        quiet_s = self._quiet.still_s(uid, study.arrivals, now)
        open_s = self._open.still_s(uid, study.first_received_at, now)
        return quiet_s >= self._settings.quiet_s or open_s >= self._settings.deadline_s

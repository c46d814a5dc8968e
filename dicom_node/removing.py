"""``dicom-node remove``: one study goes at a person's word."""

from collections.abc import Mapping

from dicom_node.domain.errors import LedgerConflict
from dicom_node.ledger import Ledger
from dicom_node.ledger.removals import Removed
from dicom_node.observe import log
from dicom_node.settings.node import Settings

OVERRULE = "wait until it is done, or say --even-if-unsent"
ADVICE: Mapping[str, str] = {
    "STUDY_UNKNOWN": "this node has no such study, or has removed it before",
    "RECEIVING": "images of it still arrive: wait until it is complete",
    "ANALYSING": "a model reads it now: wait until it is done",
    "SENDING": "results of it are being sent now: wait until that is done",
    "JOB_WAITS": f"a model still has to read it: {OVERRULE}",
    "NOT_TOLD": f"why there is no result, or that one was rejected, was not told yet: {OVERRULE}",
    "NOT_PROVEN": f"a destination has not confirmed yet that it has a result: {OVERRULE}",
    "NOT_SENT": f"a result of it was not sent, or the destination would not take it: {OVERRULE}",
}
"""What to do where a study is not removed, by reason code."""


def remove_study(ledger: Ledger, settings: Settings, uid: str, *, even_if_unsent: bool) -> Removed:
    """Remove a study, and say so in the log. Raises ``LedgerConflict`` with what to do."""
    try:
        removed = ledger.removals.order(
            uid, settings.results.answered, even_if_unsent=even_if_unsent
        )
    except LedgerConflict as conflict:
        about = {} if conflict.code == "STUDY_UNKNOWN" else {"study": uid}
        log("remove").warning("study.stays", reason=conflict.code, **about)
        advice = ADVICE[conflict.code]
        raise LedgerConflict(f"not removed ({conflict.code}): {advice}") from conflict
    counts = {"count": removed.instances, "bytes": removed.size_bytes}
    log("remove").info("study.removed", study=uid, reason="ON_DEMAND", **counts)
    return removed

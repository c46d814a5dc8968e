"""A worker that asks a destination for a proof, in a process that may be killed."""

from outbox import PACS

from dicom_node import faults
from dicom_node.domain.delivery import Proof
from dicom_node.ledger import Ledger
from dicom_node.receive.reading import NoticeReader
from dicom_node.receive.reports import Reports
from dicom_node.send import commitment
from dicom_node.send.cstore import Peer


def prove(url: str, job_id: str, peer: Peer, offer: Proof, plan: str, wait_s: float) -> None:
    """Claim what a destination has of a job, and ask for it."""
    commitment.REPORT_WAIT_S = wait_s
    ledger, reader = Ledger.open(url), NoticeReader()
    unproven = ledger.commitments.claim(job_id, PACS)
    assert unproven
    faults.arm(plan)
    commitment.prove(unproven, peer, ledger, Reports(ledger, reader, lambda _: {}).on_report, offer)
    ledger.close()
    reader.close()

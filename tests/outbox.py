"""A job whose objects were sent to one destination, which is to prove that it has them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ward import MODEL, NEGATIVE, Ward

from dicom_node.domain.delivery import Delivery, Proof, ResultKind, StoredResult

PACS = "pacs"


class Outbox:
    """One analysed job, whose objects are sent to one destination."""

    def __init__(self, folder: Path, results: Sequence[StoredResult] = ()) -> None:
        self.ward = Ward.open(folder)
        self.ledger, self.commitments = self.ward.ledger, self.ward.ledger.commitments
        self.uid = self.ward.receive("Doe^Jane")
        (self.job,) = self.ward.close(self.uid, MODEL)
        if results:
            kinds = {PACS: tuple(ResultKind)}
            claim = self.ward.claim(self.job)
            self.ledger.jobs.complete(claim, results, kinds, summary={}, report_sha256="")
        else:
            self.ward.complete(self.job, NEGATIVE)
        self.sent = self.send(Proof.COMMITMENT)

    def send(self, proof: Proof, reason: str = "") -> tuple[Delivery, ...]:
        """All that is due."""
        shipment = self.ledger.deliveries.claim(self.job, PACS)
        assert shipment
        for item in shipment.deliveries:
            self.ledger.deliveries.sent(shipment, item, reason, proof)
        return shipment.deliveries

    def claim(self) -> Any:
        """What may be asked for."""
        return self.commitments.claim(self.job, PACS)

    def ask(self) -> str:
        """The Transaction UID."""
        return self.commitments.ask(self.claim())

    def uids(self) -> list[str]:
        """Of all objects."""
        return [row["sop_instance_uid"] for row in self.wanted()]

    def wanted(self) -> list[Any]:
        """The rows."""
        page = self.ledger.pages.study(self.uid)
        assert page
        return [row for row in page.deliveries if row["state"] != "NOT_NEEDED"]

    def told(self) -> set[tuple[str, str]]:
        """What is to be known of every object: its state, its reason."""
        return {(row["state"], row["reason"]) for row in self.wanted()}

    def pass_time(self) -> None:
        """End all pauses."""
        if begun := self.ledger.pauses.begun():
            self.ledger.pauses.end(begun)

    def look(self, found: Collection[str] = (), *, is_gone: bool = True) -> None:
        """One round of C-FIND."""
        claim = self.claim()
        for item in claim.deliveries:
            if item.result.sop_instance_uid in found:
                self.commitments.found(claim, item)
            else:
                self.commitments.missed(claim, item, is_gone=is_gone)

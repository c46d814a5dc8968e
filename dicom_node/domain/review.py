"""Review: what a reader says of a result. It never changes the result."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """A reader's answer to one job's result."""

    AGREE = "AGREE"
    DISAGREE = "DISAGREE"
    REJECT = "REJECT"
    """Disagrees so far that the result must not stand: it is retracted."""


@dataclass(frozen=True, slots=True)
class Review:
    """One reader's word on one job; later words stand beside earlier ones."""

    job_id: str
    reader: str
    verdict: Verdict
    comment: str
    at: datetime

    def row(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return {
            "job_id": self.job_id,
            "reader": self.reader,
            "verdict": Verdict(self.verdict),
            "comment": self.comment,
            "at": self.at.timestamp(),
        }

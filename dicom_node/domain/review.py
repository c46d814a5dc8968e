"""Review: what a reader says of a result. It never changes the result."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """A reader's answer to one job's result."""

    AGREE = "AGREE"
    DISAGREE = "DISAGREE"


@dataclass(frozen=True, slots=True)
class Review:
    """One reader's word on one job; later words stand beside earlier ones."""

    job_id: str
    reader: str
    verdict: Verdict
    comment: str
    at: datetime

"""ResultInstance and Delivery: what a job made, and where each object is on its way.

::

    READY ──claim──▶ SENDING ──sent──▶ SENT
      ▲                 │
      ├── postponed ────┤   no connection, out of resources: again after a pause that grows
      │                 └──hold──▶ HELD   the peer's final no, three times
      └──── retry (a person's word) ──────┘
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ResultKind(StrEnum):
    """What a result is; the order of the members is the order of sending, reports last.

    A visible SR means a complete set, so everything it refers to goes first.
    """

    SEGMENTATION = "SEGMENTATION"
    SECONDARY_CAPTURE = "SECONDARY_CAPTURE"
    ENCAPSULATED_PDF = "ENCAPSULATED_PDF"
    STRUCTURED_REPORT = "STRUCTURED_REPORT"

    @property
    def rank(self) -> int:
        """Position in the order of sending."""
        return list(ResultKind).index(self)

    @property
    def label(self) -> str:
        """What people in a radiology department call it."""
        return _LABELS[self]


_LABELS: Mapping[ResultKind, str] = {
    ResultKind.SEGMENTATION: "SEG",
    ResultKind.SECONDARY_CAPTURE: "SC",
    ResultKind.ENCAPSULATED_PDF: "PDF",
    ResultKind.STRUCTURED_REPORT: "SR",
}


class DeliveryState(StrEnum):
    """The states of the drawing above."""

    READY = "READY"
    SENDING = "SENDING"
    SENT = "SENT"
    HELD = "HELD"


DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.READY: frozenset({DeliveryState.SENDING}),
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.READY, DeliveryState.HELD}),
    DeliveryState.SENT: frozenset(),
    DeliveryState.HELD: frozenset({DeliveryState.READY}),
}


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result object in the store, as the ledger knows it."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    series_description: str
    kind: ResultKind
    position: int
    """Order of sending inside one job."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object on its way to one destination."""

    id: str
    job_id: str
    destination: str
    result: StoredResult
    state: DeliveryState
    attempt: int
    reason: str

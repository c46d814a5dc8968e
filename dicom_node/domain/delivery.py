"""ResultInstance and Delivery: what a job made, and where each object is on its way.

::

    READY ──claim──▶ SENDING ──sent──▶ SENT ──ask──▶ COMMITMENT_ASKED ──report──▶ CONFIRMED
      ▲                 │               ▲ │                 │
      ├── postponed ────┤               └─┼─── silence ─────┤
      ├── lost ─────────│─────────────────┴─────────────────┤
      │                 └──hold──▶ HELD ◀─── lost, again ───┘
      └──── retry (a person's word) ─┘

    SENT ──found by C-FIND──▶ CONFIRMED

    postponed   no connection, out of resources: again after a pause that grows
    hold        the peer's final no, three times
    silence     no report in an hour, or a no to the question: asked anew, then by C-FIND
    lost        the archive does not have what it took: it goes again, a few times

    READY, HELD, NOT_NEEDED ──reject──▶ WITHDRAWN
                                        a reader rejected the result: it must not go out any more

    READY, HELD ──spare──▶ NOT_NEEDED   the destination gets another form of the report
    NOT_NEEDED ──hold of the form before it──▶ READY

The forms of the report, ``REPORT_FORMS``, never go together: while one may still go, those after it
are not needed; where it is held, the next one goes; whichever arrives ends the others.

That a C-STORE succeeded promises nothing; Storage Commitment does (PS3.4 Annex J). ``Proof`` is
what the destination is to be asked next. Where it offers none, the object stays SENT (UNPROVEN).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class ResultKind(StrEnum):
    """What a result is; the order of the members is the order of sending.

    What is referred to goes before what refers to it: a visible SR means a complete set. A
    rejection note is never part of a set; it is made later, of objects that were sent.
    """

    DERIVED_IMAGE = "DERIVED_IMAGE"
    SEGMENTATION = "SEGMENTATION"
    PARAMETRIC_MAP = "PARAMETRIC_MAP"
    SECONDARY_CAPTURE = "SECONDARY_CAPTURE"
    PRESENTATION_STATE = "PRESENTATION_STATE"
    COLOR_PRESENTATION_STATE = "COLOR_PRESENTATION_STATE"
    KEY_OBJECTS = "KEY_OBJECTS"
    ENCAPSULATED_PDF = "ENCAPSULATED_PDF"
    STRUCTURED_REPORT = "STRUCTURED_REPORT"
    FLAT_REPORT = "FLAT_REPORT"
    ENHANCED_REPORT = "ENHANCED_REPORT"
    REJECTION_NOTE = "REJECTION_NOTE"

    @property
    def rank(self) -> int:
        """Position in the order of sending."""
        return list(ResultKind).index(self)

    @property
    def label(self) -> str:
        """What people in a radiology department call it."""
        return _LABELS[self]


_LABELS: Mapping[ResultKind, str] = {
    ResultKind.DERIVED_IMAGE: "IMG",
    ResultKind.SEGMENTATION: "SEG",
    ResultKind.PARAMETRIC_MAP: "PM",
    ResultKind.SECONDARY_CAPTURE: "SC",
    ResultKind.PRESENTATION_STATE: "GSPS",
    ResultKind.COLOR_PRESENTATION_STATE: "PCPS",
    ResultKind.KEY_OBJECTS: "KOS",
    ResultKind.ENCAPSULATED_PDF: "PDF",
    ResultKind.STRUCTURED_REPORT: "SR",
    ResultKind.FLAT_REPORT: "SR 2D",
    ResultKind.ENHANCED_REPORT: "Enhanced SR",
    ResultKind.REJECTION_NOTE: "REJECT",
}
DEFAULT_KINDS: tuple[ResultKind, ...] = (
    ResultKind.DERIVED_IMAGE,
    ResultKind.SEGMENTATION,
    ResultKind.PARAMETRIC_MAP,
    ResultKind.SECONDARY_CAPTURE,
    ResultKind.ENCAPSULATED_PDF,
    ResultKind.STRUCTURED_REPORT,
    ResultKind.FLAT_REPORT,
)
"""What a site gets unless it chooses. Presentation states are left to the site, for many viewers
apply them unasked, and an overlay that is there before the first look misleads readers; key
objects are, for a PACS hands them on to referrers as if a radiologist had picked them. The flat
report is the SR once more, as Comprehensive SR; it goes where Comprehensive 3D SR is refused. The
same as Enhanced SR is for the rare archive that refuses Comprehensive SR, too."""
REPORT_FORMS = (
    ResultKind.STRUCTURED_REPORT,
    ResultKind.FLAT_REPORT,
    ResultKind.ENHANCED_REPORT,
)
"""Of which a destination gets one: the next where it refuses the one before."""

REFERRING = frozenset({ResultKind.COLOR_PRESENTATION_STATE, ResultKind.KEY_OBJECTS, *REPORT_FORMS})
"""What names other results: it goes to those alone who get all that it names."""


def audience(kinds: Collection[ResultKind]) -> frozenset[ResultKind]:
    """What may be named to who gets these kinds; who gets the same may read the same documents."""
    return frozenset(kinds).difference(REPORT_FORMS)


class DeliveryState(StrEnum):
    """The states of the drawing above."""

    READY = "READY"
    SENDING = "SENDING"
    SENT = "SENT"
    COMMITMENT_ASKED = "COMMITMENT_ASKED"
    CONFIRMED = "CONFIRMED"
    HELD = "HELD"
    WITHDRAWN = "WITHDRAWN"
    NOT_NEEDED = "NOT_NEEDED"


ARRIVED = (DeliveryState.SENT, DeliveryState.COMMITMENT_ASKED, DeliveryState.CONFIRMED)
"""The destination has taken it; whether that is proven is another question."""
NEVER_SENT = (DeliveryState.WITHDRAWN, DeliveryState.NOT_NEEDED)
"""Finished without having been sent: no part of what a destination is owed."""
SETTLED = frozenset({DeliveryState.SENT, DeliveryState.CONFIRMED, *NEVER_SENT})
"""Nothing more is to come of it, unless a proof is wanted of what was SENT. While a delivery is in
any other state, its study stays here."""

DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.READY: frozenset(
        {DeliveryState.SENDING, DeliveryState.WITHDRAWN, DeliveryState.NOT_NEEDED}
    ),
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.READY, DeliveryState.HELD}),
    DeliveryState.SENT: frozenset(
        {
            DeliveryState.COMMITMENT_ASKED,
            DeliveryState.CONFIRMED,
            DeliveryState.READY,
            DeliveryState.HELD,
        }
    ),
    DeliveryState.COMMITMENT_ASKED: frozenset(
        {
            DeliveryState.SENT,
            DeliveryState.CONFIRMED,
            DeliveryState.READY,
            DeliveryState.HELD,
        }
    ),
    DeliveryState.CONFIRMED: frozenset(),
    DeliveryState.HELD: frozenset(
        {DeliveryState.READY, DeliveryState.WITHDRAWN, DeliveryState.NOT_NEEDED}
    ),
    DeliveryState.WITHDRAWN: frozenset(),
    DeliveryState.NOT_NEEDED: frozenset({DeliveryState.READY, DeliveryState.WITHDRAWN}),
}


class Proof(StrEnum):
    """What a destination that has taken an object is to be asked next."""

    NONE = ""
    """Nothing: it is confirmed, was not sent, or cannot be proven."""
    COMMITMENT = "COMMITMENT"
    QUERY = "QUERY"


UNPROVEN = "UNPROVEN"
"""Reason of what stays SENT: the archive offers no proof."""


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

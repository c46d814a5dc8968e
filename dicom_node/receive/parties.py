"""Whom a connection deals with: the listener, and who takes the data."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from dicom_node.receive.admission import Applicant, Rejection
from dicom_node.receive.negotiation import Answer, Request

if TYPE_CHECKING:
    from dicom_node.receive.connection import Connection


class Service(Protocol):
    """Who takes the P-DATA of an established association."""

    def data(self, body: memoryview) -> None:
        """One P-DATA-TF body; ``ProtocolError`` ends the association."""

    def lost(self) -> None:
        """The association is over, however it ended."""


class ProtocolError(Exception):
    """The peer broke PS3.8; the association is aborted."""

    def __init__(self, code: str, reason: int) -> None:
        super().__init__(code)
        self.code, self.reason = code, reason


class Peer(Protocol):
    """What the listener knows of a connection, whatever state it is in."""

    number: int
    """Of the connections of this process."""
    peer: str
    calling_ae: str
    received: int
    deadline: float

    def expire(self) -> None:
        """The deadline has passed, or the listener ends."""


def whose(connection: Peer) -> dict[str, Any]:
    """Fields of a log line."""
    return {"peer": connection.peer, "aet": connection.calling_ae, "assoc": connection.number}


class Host(Protocol):
    """What a connection asks of the listener."""

    def connected(self, connection: Peer) -> str | None:
        """Reason code why the connection is not wanted; none: it is."""

    def requested(self, connection: "Connection", applicant: Applicant) -> Rejection | None:
        """Why the association is not wanted; none: it is."""

    def established(self, connection: "Connection", request: Request) -> tuple[Answer, Service]:
        """The answer to an association request, and who takes its data."""

    def must_relay(self, request: Request) -> bool:
        """Whether the library is to speak."""

    def relay(self, connection: "Connection", request: bytes) -> Callable[[bytes], None]:
        """Hand the association to the library; returns where the peer's PDUs go."""

    def failed(self, connection: "Connection", error: Exception) -> None:
        """Something of ours went wrong."""

    def ended(self, connection: Peer, code: str | None) -> None:
        """The connection is closed; ``code`` says why, where it was for a fault."""

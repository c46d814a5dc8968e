"""C-STORE SCU: stored bytes to a DICOM peer, unchanged (PS3.4 Annex B)."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_node.domain.errors import PeerUnreachable

CONNECT_TIMEOUT_S, ACSE_TIMEOUT_S, DIMSE_TIMEOUT_S = 5, 10, 60
MOST_KINDS = 64
"""Of files, for one association: 128 presentation contexts, two a kind."""
MAX_PDU = 128 * 1024
WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
"""Of PS3.7 annex C, beside all of Bxxx: the peer has the object, and did not like all of it."""
DUPLICATE = 0x0111
"""The peer has an object of this UID: ours, for the same UID of ours means the same bytes."""
LIMITED = 0x0213


class Answer(StrEnum):
    """What the peer said of one object."""

    SENT = "SENT"
    TRY_LATER = "TRY_LATER"
    """Out of resources, processing failure, or no answer: the same bytes may go again."""
    REFUSED = "REFUSED"
    """The peer will not take it as it is."""
    NO_CONTEXT = "NO_CONTEXT"
    """The peer does not take this SOP class or transfer syntax."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to send to."""

    host: str
    port: int
    ae_title: str
    calling_ae: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The peer's answer to one file."""

    file: Path
    answer: Answer
    status: int | None = None
    """DIMSE status; none where there was no answer."""

    @property
    def reason(self) -> str:
        """Reason code for the ledger and the logs; empty for a plain success."""
        if self.answer is Answer.NO_CONTEXT:
            return "NO_CONTEXT"
        if self.status is None:
            return "NO_ANSWER"
        return "" if self.status == 0 else f"STATUS_{self.status:04X}"


def echo(peer: Peer) -> None:
    """C-ECHO; raises ``PeerUnreachable`` with the reason."""
    with Outgoing(peer, [build_context("1.2.840.10008.1.1")]) as association:
        status = association.send_c_echo()
        if not status or status.Status != 0:
            raise PeerUnreachable(f"{peer.ae_title} does not answer C-ECHO")


def send(peer: Peer, files: Sequence[Path]) -> Iterator[Outcome]:
    """Send DICOM files in order, and say after each what became of it.

    Raises ``PeerUnreachable`` when there is no association; a lost association makes every file
    that is left TRY_LATER.
    """
    for batch in _batches(files):
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in _offered(batch)]
        try:
            with Outgoing(peer, contexts) as association:
                for file in batch:
                    yield _send_one(association, file)
        except NothingAccepted:
            yield from (Outcome(file, Answer.NO_CONTEXT) for file in batch)


def _send_one(association: Association, file: Path) -> Outcome:
    if not association.is_established:
        return Outcome(file, Answer.TRY_LATER)
    try:
        status = association.send_c_store(_taken(association, file))
    except ValueError:  # no accepted presentation context
        return Outcome(file, Answer.NO_CONTEXT)
    except RuntimeError:  # the association ended meanwhile
        return Outcome(file, Answer.TRY_LATER)
    if "Status" not in status:
        return Outcome(file, Answer.TRY_LATER)
    return Outcome(file, answer_of(status.Status), status.Status)


def answer_of(status: int) -> Answer:
    """What a C-STORE status means for the sender (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    if status in (0, DUPLICATE) or status in WARNINGS or status >> 12 == 0xB:
        return Answer.SENT
    if status in (0x0110, LIMITED) or status >> 8 == 0xA7:
        return Answer.TRY_LATER
    return Answer.REFUSED


def _offered(files: Sequence[Path]) -> list[tuple[UID, UID]]:
    """The kinds of the files; what may go in the default syntax is offered so, too (PS3.5 10.1)."""
    kinds = {_kind(file) for file in files}
    default = {
        (c, ImplicitVRLittleEndian) for c, syntax in kinds if syntax == ExplicitVRLittleEndian
    }
    return sorted(kinds | default)


def _taken(association: Association, file: Path) -> Path | Dataset:
    """The file, whose bytes go as they are; its data set, where the peer takes only the default."""
    sop_class, syntax = _kind(file)
    contexts = (c for c in association.accepted_contexts if c.abstract_syntax == sop_class)
    syntaxes = {context.transfer_syntax[0] for context in contexts}
    is_to_convert = syntax == ExplicitVRLittleEndian and syntaxes == {ImplicitVRLittleEndian}
    return dcmread(file) if is_to_convert else file


def _kind(file: Path) -> tuple[UID, UID]:
    meta = read_file_meta_info(file)
    return meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Files in order, cut where one association would need too many presentation contexts."""
    batch: list[Path] = []
    kinds: set[tuple[UID, UID]] = set()
    for file in files:
        kind = _kind(file)
        if kind not in kinds and len(kinds) == MOST_KINDS:
            yield batch
            batch, kinds = [], set()
        batch.append(file)
        kinds.add(kind)
    if batch:
        yield batch


class NothingAccepted(Exception):
    """The peer takes none of the SOP classes and transfer syntaxes that were offered."""


class Outgoing:
    """An association that is released at the end, or aborted after an error."""

    def __init__(
        self,
        peer: Peer,
        contexts: Sequence[Any],
        *,
        dimse_timeout_s: float = DIMSE_TIMEOUT_S,
        handlers: Sequence[Any] = (),
    ) -> None:
        """``handlers`` of pynetdicom's events, beside ours."""
        _config.STORE_SEND_CHUNKED_DATASET = True  # bytes of the file, not of a decoded data set
        self._peer = peer
        self._contexts = list(contexts)
        self._dimse_timeout_s = dimse_timeout_s
        self._handlers = handlers

    def __enter__(self) -> Association:
        entity = AE(self._peer.calling_ae)
        entity.connection_timeout = CONNECT_TIMEOUT_S
        entity.acse_timeout = ACSE_TIMEOUT_S
        entity.dimse_timeout = self._dimse_timeout_s
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, _no_delay), *self._handlers]
        try:
            self._association = entity.associate(
                self._peer.host,
                self._peer.port,
                self._contexts,
                self._peer.ae_title,
                max_pdu=MAX_PDU,
                evt_handlers=handlers,
            )
        except OSError as error:
            raise PeerUnreachable(f"{self._peer.host}: no address is known of it") from error
        if self._association.is_established:
            _leave_answers(self._association)
            _wait_while_it_goes(self._association)
            return self._association
        if self._association.rejected_contexts:
            raise NothingAccepted
        raise PeerUnreachable(self._why())

    def _why(self) -> str:
        where = f"{self._peer.ae_title} at {self._peer.host}:{self._peer.port}"
        if self._association.is_rejected:
            return f"{where} rejected the association: check both AE titles there and here"
        return f"{where} did not accept an association: check that it runs and can be reached"

    def __exit__(self, error: object, *_: object) -> None:
        if self._association.is_established:
            if error is None:
                self._association.release()
            else:
                self._association.abort()


def _leave_answers(association: Association) -> None:
    """Let the association's own thread put back an answer that it took from who waits for it.

    pynetdicom 3.0.4 pauses that thread while a request is out, but may see it paused a moment too
    early; a fast peer's answer is then thrown away, and the sender waits out its time limit.
    """
    serve = association._serve_request

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_put_back  # type: ignore[assignment,method-assign]


def _wait_while_it_goes(association: Association) -> None:
    """Let the time limit of an answer begin when all of the request is on its way.

    pynetdicom counts from when the request is queued: a large object on a slow line would be given
    up half-way, and again each time.
    """
    take, queue = association.dimse.get_msg, association.dul.to_provider_queue

    def take_later(block: bool = False) -> Any:
        left, found = queue.qsize(), take(block)
        while block and found[1] is None and association.is_established:
            before, left = left, queue.qsize()
            if left >= before:
                break
            found = take(block)
        return found

    association.dimse.get_msg = take_later  # type: ignore[method-assign]


def _no_delay(event: Event) -> None:
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

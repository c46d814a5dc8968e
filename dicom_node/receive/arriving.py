"""What pynetdicom reads of a C-STORE goes where the fast path puts it: never all into memory.

The library adds fragment after fragment to ``DIMSEMessage.data_set``, in memory, for as long as the
sender likes; or to a file of the system's temporary folder, without an answer where that is full,
and left behind where the association ends midway (``STORE_RECV_CHUNKED_DATASET``). Here that
attribute hands the fragments of a C-STORE to ``Incoming``: same limits, same refusals, and what is
given up half-way is cut from its pack.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.domain.errors import Refused
from dicom_node.receive.dataset import checked_uid
from dicom_node.receive.incoming import Incoming
from dicom_node.receive.negotiation import Syntax
from dicom_node.receive.parties import Peer, whose

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Arriving(DIMSEServiceProvider):
    """The messages of one association; the data set of a C-STORE is in ``incoming``.

    Fragments are written by the library's reading thread; once a message is whole, the thread of
    the association has it, and the peer's next waits for the answer (see ``relay``).
    """

    def __init__(
        self,
        association: Association,
        incoming: Incoming,
        contexts: Mapping[int, Syntax],
        refusal: Callable[[], Refused | None],
    ) -> None:
        super().__init__(association)
        self.incoming = incoming
        self._contexts = contexts
        self._refusal = refusal

    def receive_primitive(self, primitive: P_DATA) -> None:
        """See ``DIMSEServiceProvider``: takes one P-DATA."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = _DataSet(self.message, self)
        super().receive_primitive(primitive)

    def begin(self, message: DIMSEMessage) -> None:
        """Prepare for the data set; what is wrong already is answered once it has come."""
        command, refusal = message.command_set, self._refusal()
        sop_class = sop_instance = ""
        try:
            sop_class = checked_uid(str(command.get("AffectedSOPClassUID")).encode())
            sop_instance = checked_uid(str(command.get("AffectedSOPInstanceUID")).encode())
        except Refused as error:
            refusal = error
        transfer = self._contexts[message.context_id or 0].transfer
        self.incoming.begin(sop_class, sop_instance, transfer)
        self.incoming.refusal = refusal


class _DataSet(BytesIO):
    """Of one message: a notice is kept here, as the library would, for it is small."""

    def __init__(self, message: DIMSEMessage, arriving: Arriving) -> None:
        super().__init__()
        self._message = message
        self._arriving = arriving
        self._has_begun = False

    def write(self, fragment: "ReadableBuffer", /) -> int:
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(fragment)
        if not self._has_begun:
            self._arriving.begin(self._message)
            self._has_begun = True
        self._arriving.incoming.write(memoryview(fragment))
        return memoryview(fragment).nbytes


def sender_of(event: Event) -> dict[str, Any]:
    """Fields of a log line on what an ``Acceptor`` was told."""
    acceptor: Any = event.assoc
    return whose(acceptor.sender)


class Acceptor(Association):
    """An association that gives back memory and pack once it has ended, however it ended.

    ``ended`` is called then.
    """

    def __init__(self, entity: Any, sender: Peer, ended: Callable[["Acceptor"], None]) -> None:
        super().__init__(entity, "acceptor")
        self.sender = sender
        self._ended = ended

    def run_reactor(self) -> None:
        """See ``Association``: all that its thread does."""
        try:
            super().run_reactor()
        finally:
            self.dul.join()  # until then something may still be written
            if isinstance(self.dimse, Arriving):
                self.dimse.incoming.discard()
                self.dimse.incoming.let_go()
            self._ended(self)

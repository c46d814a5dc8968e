"""A DICOM peer made of raw bytes: it can say what no library would."""

import socket
import struct
import time
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7


def request(
    *contexts: tuple[str, list[str]], called: str = "DICOM_NODE", calling: str = "MODALITY"
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    wanted = contexts or ((CTImageStorage, [ExplicitVRLittleEndian]),)
    built = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in wanted]
    for number, context in enumerate(built):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = built
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3.4")
    primitive.user_information = [longest, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def pdv(data: bytes, *, context: int = 1, command: bool = False, last: bool = True) -> bytes:
    """A P-DATA-TF PDU with one fragment."""
    control = (1 if command else 0) | (2 if last else 0)
    item = struct.pack(">IBB", len(data) + 2, context, control) + data
    return struct.pack(">BxI", DATA, len(item)) + item


def command(
    field: int = 1,
    *,
    sop_class: str = CTImageStorage,
    sop_instance: str = "1.2.3.4",
    data_set: bool = True,
    event_type: int | None = None,
) -> bytes:
    """A command set: C-STORE-RQ unless said otherwise."""
    group = Dataset()
    group.AffectedSOPClassUID, group.AffectedSOPInstanceUID = sop_class, sop_instance
    group.CommandField, group.MessageID, group.Priority = field, 1, 0
    if event_type is not None:
        group.EventTypeID = event_type
    group.CommandDataSetType = 1 if data_set else 0x0101
    body = encoded(group, ImplicitVRLittleEndian)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def encoded(data: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The bytes of a data set."""
    buffer = BytesIO()
    uid = UID(syntax)
    from pydicom.filebase import DicomIO

    target = DicomIO(buffer)
    target.is_implicit_VR, target.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(target, data)
    return buffer.getvalue()


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian, with any length it likes to state."""
    length = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT", "UC"):
        return struct.pack("<HH2s2xI", group, number, vr.encode(), length) + value
    return struct.pack("<HH2sH", group, number, vr.encode(), length) + value


@dataclass
class Wire:
    """One TCP connection to a listener."""

    socket: socket.socket

    @classmethod
    def connect(cls, port: int, host: str = "127.0.0.1", source: str | None = None) -> "Wire":
        """Connect, from another loopback address if ``source`` names one."""
        address = (source, 0) if source else None
        return cls(socket.create_connection((host, port), timeout=20, source_address=address))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *chunks: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(b"".join(chunks))

    def trickle(self, data: bytes) -> None:
        """Send one byte after the other."""
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(0.05)

    def receive(self) -> tuple[int, bytes] | None:
        """(type, body) of the next PDU; none when the listener has closed the connection."""
        try:
            header = self._exactly(6)
            if header is None:
                return None
            kind, length = struct.unpack(">BxI", header)
            body = self._exactly(length)
        except ConnectionError:
            return None
        return None if body is None else (kind, body)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                return None
            data += chunk
        return data

    def associate(self, *contexts: tuple[str, list[str]], **names: str) -> int:
        """Ask for an association; returns the type of the answer."""
        self.send(request(*contexts, **names))
        answer = self.receive()
        assert answer is not None
        return answer[0]

    def store(self, data: bytes, **said: object) -> int | None:
        """C-STORE of these bytes; the status, or none when there was no answer."""
        self.send(pdv(command(**said), command=True), pdv(data))  # type: ignore[arg-type]
        return self.status()

    def send_large(self, data: bytes) -> int | None:
        """C-STORE of these bytes, in as many PDUs as they need."""
        self.send(pdv(command(), command=True))
        size = 100_000
        for start in range(0, max(1, len(data)), size):
            self.send(pdv(data[start : start + size], last=start + size >= len(data)))
        return self.status()

    def status(self) -> int | None:
        """Status of the next response."""
        answer = self.receive()
        if answer is None or answer[0] != DATA:
            return None
        raw, position = answer[1][6:], 0
        while position < len(raw):
            _, number, length = struct.unpack_from("<HHI", raw, position)
            if number == 0x0900:
                return int(struct.unpack_from("<H", raw, position + 8)[0])
            position += 8 + length
        return None

    def is_closed(self, within_s: float) -> bool:
        """Whether the listener closes the connection in time, whatever it says before."""
        self.socket.settimeout(within_s)
        started = time.monotonic()
        try:
            while self.socket.recv(65536):
                self.socket.settimeout(max(0.01, within_s - (time.monotonic() - started)))
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

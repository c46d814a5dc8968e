"""The few DIMSE messages that the fast path speaks, as bytes (PS3.7 sections 9.3 and E).

Command sets are always Implicit VR Little Endian. PDUs are those of PS3.8 section 9.3.
"""

from dataclasses import dataclass
from struct import Struct, error

C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
C_STORE_RSP, C_ECHO_RSP = 0x8001, 0x8030
NO_DATA_SET = 0x0101
P_DATA_TF, A_RELEASE_RP, A_ABORT = 4, 6, 7

_ELEMENT = Struct("<HHI")
_US = Struct("<H")
_PDV = Struct(">BxIIBB")
_NUMBERS = Struct("<" + 4 * "HHIH")
_GROUP_LENGTH = _ELEMENT.pack(0, 0x0000, 4)
COMMAND_FIELD, MESSAGE_ID, DATA_SET_TYPE = 0x0100, 0x0110, 0x0800
SOP_CLASS, REQUESTED_SOP_CLASS, SOP_INSTANCE = 0x0002, 0x0003, 0x1000
VERIFICATION = b"1.2.840.10008.1.1\0"


@dataclass(frozen=True, slots=True)
class Command:
    """What a request says; UIDs as they came."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class: bytes
    sop_instance: bytes


def read_command(raw: bytes) -> Command:
    """Decode a command set. Raises ``ValueError`` where it is not one."""
    elements: dict[int, bytes] = {}
    position, end, header = 0, len(raw), _ELEMENT.unpack_from
    try:
        while position < end:
            group, element, length = header(raw, position)
            value, position = position + 8, position + 8 + length
            if group or position > end:
                raise ValueError("not a command set")
            elements[element] = raw[value:position]
        return Command(
            field=_US.unpack(elements[COMMAND_FIELD])[0],
            message_id=_US.unpack(elements[MESSAGE_ID])[0],
            has_data_set=_US.unpack(elements[DATA_SET_TYPE])[0] != NO_DATA_SET,
            sop_class=elements.get(SOP_CLASS) or elements.get(REQUESTED_SOP_CLASS, b""),
            sop_instance=elements.get(SOP_INSTANCE, b""),
        )
    except (error, KeyError) as wrong:
        raise ValueError("not a command set") from wrong


def store_response(request: Command, context: int, status: int) -> bytes:
    """C-STORE-RSP as one P-DATA-TF PDU."""
    return _response(C_STORE_RSP, request, context, status, request.sop_class, request.sop_instance)


def echo_response(request: Command, context: int) -> bytes:
    """C-ECHO-RSP, always success, as one P-DATA-TF PDU."""
    return _response(C_ECHO_RSP, request, context, 0, VERIFICATION, b"")


def release_response() -> bytes:
    """A-RELEASE-RP."""
    return bytes((A_RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))


def abort(reason: int) -> bytes:
    """A-ABORT by the service provider; 1: unrecognised PDU, 2: unexpected PDU, 6: invalid value."""
    return bytes((A_ABORT, 0, 0, 0, 0, 4, 0, 0, 2, reason))


def _response(
    field: int, request: Command, context: int, status: int, sop_class: bytes, instance: bytes
) -> bytes:
    numbers = _NUMBERS.pack(
        *(0, COMMAND_FIELD, 2, field),
        *(0, 0x0120, 2, request.message_id),
        *(0, DATA_SET_TYPE, 2, NO_DATA_SET),
        *(0, 0x0900, 2, status),
    )
    named = _element(SOP_INSTANCE, instance) if instance else b""
    body = _element(SOP_CLASS, sop_class) + numbers + named
    size = len(body) + len(_GROUP_LENGTH) + 6
    header = _PDV.pack(P_DATA_TF, size + 4, size, context, 3)
    return header + _GROUP_LENGTH + len(body).to_bytes(4, "little") + body


def _element(element: int, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0"
    return _ELEMENT.pack(0, element, len(value)) + value

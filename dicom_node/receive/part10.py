"""DICOM files (PS3.10), checked as the listener checks what it receives."""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from struct import Struct, error
from tempfile import TemporaryFile

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_node.domain.errors import (
    OutOfSpace,
    Refused,
    UnreadableDataset,
    UnsupportedSyntax,
)
from dicom_node.domain.study import Instance
from dicom_node.receive.admission import check_command
from dicom_node.receive.dataset import LONG_VRS, SHORT_VRS, Bytes, Identity, checked_uid, identify
from dicom_node.receive.incoming import file_head
from dicom_node.store import InstanceStore, refusing

PREAMBLE, PREFIX = 128, b"DICM"
PROGRAMS = (b"MZ", b"\x7fELF")
"""A preamble that begins like this makes the file a program, too (CVE-2019-11687)."""
MOST_META = 64 << 10
MOST_INFLATED = 256 << 20
DEFLATED_PIECE, INFLATED_PIECE = 64 << 10, 1 << 20
_ELEMENT, _LENGTH = Struct("<HH2sH").unpack_from, Struct("<I").unpack_from
SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file meta information says (PS3.10 section 7.1); UIDs as they came."""

    transfer_syntax: UID
    sop_class: bytes
    sop_instance: bytes
    end: int
    """Where the data set begins, in bytes."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A DICOM file that passed the checks."""

    identity: Identity
    head: bytes
    """Our own preamble and file meta information: nothing of the file's is kept."""
    data: Bytes


def check_file(content: Bytes, scratch: Path | None = None) -> DicomFile:
    """Check a whole DICOM file (PS3.10) as the listener checks what it receives.

    A deflated data set is inflated, within limits, into a file without a name in ``scratch`` or
    where the system keeps such. Raises as ``dataset.identify`` does, and
    ``DatasetMismatch`` where the meta information names another instance.
    """
    meta = read_meta(content)
    syntax, data = meta.transfer_syntax, memoryview(content)[meta.end :]
    if syntax == DeflatedExplicitVRLittleEndian:
        data, syntax = _inflated(data, scratch), ExplicitVRLittleEndian
    identity = identify(
        data, str(syntax), implicit=syntax.is_implicit_VR, little=syntax.is_little_endian
    )
    check_command(identity, checked_uid(meta.sop_class), checked_uid(meta.sop_instance))
    head = file_head(identity.sop_class_uid, identity.sop_instance_uid, str(syntax))
    return DicomFile(identity, head, data)


def read_meta(content: Bytes) -> Meta:
    """Read the file meta information. Raises ``UnreadableDataset``, ``UnsupportedSyntax``."""
    start = bytes(memoryview(content)[:MOST_META])
    if start[PREAMBLE : PREAMBLE + 4] != PREFIX:
        raise UnreadableDataset(
            "not a DICOM file: it has no preamble with the prefix DICM; to a bare data set, "
            "DCMTK's dcmconv adds one"
        )
    try:
        found, end = _group_2(start)
        syntax = UID(checked_uid(found[TRANSFER_SYNTAX]))
    except (error, KeyError, Refused) as wrong:
        raise UnreadableDataset(
            "the file has no readable meta information; DCMTK's dcmconv writes it anew"
        ) from wrong
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise UnsupportedSyntax("a private transfer syntax: store it in one of the standard's")
    return Meta(syntax, found.get(SOP_CLASS, b""), found.get(SOP_INSTANCE, b""), end)


def _group_2(start: bytes) -> tuple[dict[int, bytes], int]:
    """Elements of group 0002, always explicit VR little endian, and where they end."""
    found: dict[int, bytes] = {}
    position = PREAMBLE + 4
    while position < len(start):
        group, element, vr, length = _ELEMENT(start, position)
        if group != 2:
            return found, position
        value = position + 8
        if vr in LONG_VRS:
            (length,), value = _LENGTH(start, value), value + 4
        elif vr not in SHORT_VRS:
            raise KeyError(vr)
        position = value + length
        found[element] = start[value:position]
    return found, position


def names(content: Bytes) -> tuple[str, str]:
    """SOP class and instance of the meta information, so that a refusal can name them."""
    meta = read_meta(content)
    try:
        return checked_uid(meta.sop_class), checked_uid(meta.sop_instance)
    except Refused:
        return "", ""


def is_program(content: Bytes) -> bool:
    """Whether the file's preamble makes it a program, too."""
    return bytes(memoryview(content)[:4]).startswith(PROGRAMS)


def _inflated(data: memoryview, scratch: Path | None) -> memoryview:
    """On disk, for several requests at once may each bring as much."""
    size = 0
    with refusing(), TemporaryFile(dir=scratch) as file:
        for piece in _inflating(data):
            size += len(piece)
            if size > MOST_INFLATED:
                raise OutOfSpace(
                    "the data set inflates beyond 256 MiB; have it stored in another syntax",
                    code="INSTANCE_SIZE",
                )
            file.write(piece)
        file.flush()
        if not size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ))


def _inflating(data: memoryview) -> Iterator[bytes]:
    """What follows the end of the deflated bytes is padding (PS3.5 section A.5)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(data), DEFLATED_PIECE):
            rest: Bytes = data[start : start + DEFLATED_PIECE]
            while not inflater.eof and (piece := inflater.decompress(rest, INFLATED_PIECE)):
                yield piece
                rest = inflater.unconsumed_tail
    except zlib.error as wrong:
        raise UnreadableDataset(
            "the deflated data set is broken; send it again from its source"
        ) from wrong
    if not inflater.eof:
        raise UnreadableDataset(
            "the deflated data set is cut off; send it again from its source", code="TRUNCATED"
        )


def keep_in(store: InstanceStore, content: Bytes) -> Instance:
    """Check a DICOM file and put it into a store, without a row in any ledger."""
    return keep_checked(store, check_file(content, store.incoming))


def keep_checked(store: InstanceStore, file: DicomFile) -> Instance:
    """Put a checked file into a store. Raises ``OutOfSpace``, ``ProcessingFailure``."""
    kept = store.keep([file.head, file.data])
    fields = {n: v for n, v in asdict(file.identity).items() if n != "padded"}
    return Instance(**fields, sha256=kept.sha256, size_bytes=kept.size_bytes)

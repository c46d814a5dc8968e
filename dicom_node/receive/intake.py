"""DICOM files that do not come by C-STORE: the same checks, the same store, the same ledger."""

import mmap
import zlib
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_node.domain.errors import UnreadableDataset
from dicom_node.domain.study import Instance
from dicom_node.ledger import Ledger, Recording
from dicom_node.receive.admission import check_command
from dicom_node.receive.dataset import Bytes, Identity, identify
from dicom_node.receive.incoming import file_head
from dicom_node.store import InstanceStore

MOST_META = 64 << 10
MOST_INFLATED = 512 << 20


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A DICOM file that passed the checks."""

    identity: Identity
    head: bytes
    """Our own preamble and file meta information: nothing of the file's is kept."""
    data: Bytes


def check_file(content: Bytes) -> DicomFile:
    """Check a whole DICOM file (PS3.10) as the listener checks what it receives.

    A deflated data set is inflated, within limits. Raises as ``dataset.identify`` does, and
    ``DatasetMismatch`` where the meta information names another instance.
    """
    syntax, sop_class, instance, offset = _meta(content)
    data: Bytes = memoryview(content)[offset:]
    if syntax == DeflatedExplicitVRLittleEndian:
        data, syntax = _inflated(data), ExplicitVRLittleEndian
    identity = identify(
        data, str(syntax), implicit=syntax.is_implicit_VR, little=syntax.is_little_endian
    )
    check_command(identity, sop_class, instance)
    head = file_head(identity.sop_class_uid, identity.sop_instance_uid, str(syntax))
    return DicomFile(identity, head, data)


def _meta(content: Bytes) -> tuple[UID, bytes, bytes, int]:
    """Transfer syntax, class and instance of the file meta information, and where it ends."""
    start = BytesIO(bytes(memoryview(content)[:MOST_META]))
    try:
        read_preamble(start, force=False)
        meta = _read_file_meta_info(start)
        syntax = UID(meta.TransferSyntaxUID)
        private = not syntax.is_transfer_syntax or syntax.is_private
    except (
        InvalidDicomError,
        AttributeError,
        ValueError,
        KeyError,
        TypeError,
        OSError,
        NotImplementedError,
        LookupError,
    ) as error:
        raise UnreadableDataset("not a DICOM file: no preamble or no meta information") from error
    if private:
        raise UnreadableDataset("a private transfer syntax", code="NO_SYNTAX")
    sop_class = str(meta.get("MediaStorageSOPClassUID", "")).encode("ascii", "replace")
    instance = str(meta.get("MediaStorageSOPInstanceUID", "")).encode("ascii", "replace")
    return syntax, sop_class, instance, start.tell()


def _inflated(data: Bytes) -> bytes:
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflater.decompress(data, MOST_INFLATED)
    except zlib.error as error:
        raise UnreadableDataset("the deflated data set is broken") from error
    if inflater.unconsumed_tail:
        raise UnreadableDataset("the data set inflates beyond 512 MiB", code="INSTANCE_SIZE")
    return plain


class Intake:
    """Where files enter: the watched folder, STOW-RS, a folder that is analysed by hand."""

    def __init__(self, store: InstanceStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def keep(self, content: Bytes, source: str) -> tuple[Instance, Recording]:
        """Check a DICOM file and keep it; on return bytes and row are on stable storage.

        ``source`` stands where a calling AE title would. Raises ``Refused``, ``LedgerBusy``.
        """
        instance = keep_in(self._store, content)
        return instance, self._ledger.studies.record(instance, source)

    def keep_path(self, path: Path, source: str) -> tuple[Instance, Recording]:
        """The same for a file, without reading all of it at once."""
        with path.open("rb") as file:
            try:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise UnreadableDataset("the file is empty", code="NO_DATASET") from None
            with mapped, memoryview(mapped) as content:
                return self.keep(content, source)


def keep_in(store: InstanceStore, content: Bytes) -> Instance:
    """Check a DICOM file and put it into a store, without a row in any ledger."""
    file = check_file(content)
    kept = store.keep([file.head, file.data])
    fields = {n: v for n, v in asdict(file.identity).items() if n != "padded"}
    return Instance(**fields, sha256=kept.sha256, size_bytes=kept.size_bytes)

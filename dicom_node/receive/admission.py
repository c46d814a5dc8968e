"""Which objects are welcome: SOP classes, transfer syntaxes, UIDs."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from dicom_node.decoders import NATIVE, image_transfer_syntaxes
from dicom_node.domain.errors import DatasetMismatch, InvalidUID, UnreadableDataset

LONGEST_UID = 64
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs that a data set says of itself."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


def supported_contexts() -> list[PresentationContext]:
    """Verification, and every storage class: images in all that this install can decode."""
    images: list[str | UID] = [*image_transfer_syntaxes()]
    others: list[str | UID] = [*NATIVE]
    contexts = [
        build_context(uid, images if "Image" in keyword else others)
        for keyword, uid in sorted(_STORAGE_CLASSES.items())
    ]
    return [build_context(Verification, others), *contexts]


def identify(file: Path) -> Identity:
    """Read the UIDs of a DICOM file and check them.

    Raises ``UnreadableDataset`` (0xC000), ``DatasetMismatch`` with the code UID_MISSING (0xA900),
    ``InvalidUID`` (0x0117).
    """
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
            values = [str(data.get(keyword) or "") for keyword in keywords]
            syntax = str(data.file_meta.TransferSyntaxUID)
        except (
            InvalidDicomError,
            OSError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            NotImplementedError,
            RecursionError,
            OverflowError,
            LookupError,
        ) as error:
            raise UnreadableDataset("the bytes are no data set in the negotiated syntax") from error
    if not all(values):
        raise DatasetMismatch("a UID that every instance needs is missing", code="UID_MISSING")
    study, series, instance, sop_class = map(checked_uid, values)
    return Identity(study, series, instance, sop_class, syntax)


def checked_uid(text: str) -> str:
    """A UID without padding, or ``InvalidUID`` (PS3.5 section 9.1)."""
    uid = text.rstrip("\0 ")
    if len(uid) > LONGEST_UID or not _UID.fullmatch(uid):
        raise InvalidUID("a UID breaks PS3.5 section 9.1")
    return uid


def check_command(identity: Identity, sop_class_uid: str, sop_instance_uid: str) -> None:
    """The data set must be what the command announced (PS3.4 section B.2.3)."""
    if identity.sop_instance_uid != checked_uid(sop_instance_uid):
        raise DatasetMismatch("the command names another SOP Instance UID than the data set")
    if identity.sop_class_uid != UID(sop_class_uid).rstrip("\0 "):
        raise DatasetMismatch(
            "the command names another SOP class than the data set", code="CLASS_MISMATCH"
        )

"""Who and what is welcome: AE titles, addresses, certificates, SOP classes, UIDs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from dicom_node.decoders import NATIVE, image_transfer_syntaxes
from dicom_node.domain.errors import DatasetMismatch, UnsupportedSOPClass, UnsupportedSyntax
from dicom_node.receive.dataset import Bytes, Identity
from dicom_node.settings.listen import Caller, Listen

CALLING_AE, CALLED_AE = (1, 1, 3), (1, 1, 7)
"""A-ASSOCIATE-RJ (result, source, reason): title not recognized (PS3.8 Table 9-21)."""
LIMIT = (2, 3, 2)
"""Rejected for now: the local limit is exceeded."""
FORBIDDEN_IN_TITLE = set("\\\\/")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not accepted."""

    code: str
    answer: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks for an association."""

    called_ae: str
    calling_ae: str
    host: str
    certificate_sha256: str
    """Empty without TLS."""


def rejection(applicant: Applicant, settings: Listen) -> Rejection | None:
    """Why the applicant is not welcome; none: it is."""
    if not _is_title(applicant.calling_ae):
        return Rejection("AE_INVALID", CALLING_AE)
    if applicant.called_ae != settings.ae_title:
        return Rejection("CALLED_AE", CALLED_AE)
    if not settings.callers:
        return None
    known = [c for c in settings.callers if c.ae_title == applicant.calling_ae]
    if not known:
        return Rejection("CALLING_AE", CALLING_AE)
    known = [c for c in known if _comes_from(applicant.host, c)]
    if not known:
        return Rejection("AE_IP", CALLING_AE)
    if not any(c.certificate_sha256 in ("", applicant.certificate_sha256) for c in known):
        return Rejection("AE_CERT", CALLING_AE)
    return None


def _is_title(text: str) -> bool:
    """An AE title of PS3.5 section 6.2, without the characters that paths are made of."""
    plain = text.isascii() and text.isprintable() and text.strip() != ""
    return plain and not set(text) & FORBIDDEN_IN_TITLE


def _comes_from(host: str, caller: Caller) -> bool:
    return not caller.networks or any(ip_address(host) in network for network in caller.networks)


def supported_contexts(others: Sequence[str] = ()) -> list[PresentationContext]:
    """Verification, every storage class (images in all that this install can decode), and others
    that the site wants."""
    images: list[str | UID] = [*image_transfer_syntaxes()]
    native: list[str | UID] = [*NATIVE]
    contexts = [
        build_context(uid, images if "Image" in keyword else native)
        for keyword, uid in sorted(_STORAGE_CLASSES.items())
    ]
    return [*(build_context(uid, native) for uid in (Verification, *others)), *contexts]


def asks_for(contexts: Sequence[PresentationContext], classes: Sequence[str]) -> bool:
    """Whether a request asks for one of these SOP classes."""
    return any(context.abstract_syntax in classes for context in contexts)


def begins_with_meta(data: Bytes) -> bool:
    """Whether file meta information (group 0002) precedes the data set, where it has no place."""
    return bytes(data[:2]) in (b"\2\0", b"\0\2")


def check_command(identity: Identity, sop_class_uid: str, sop_instance_uid: str) -> None:
    """The data set must be what the command announced (PS3.4 section B.2.3)."""
    if identity.sop_instance_uid != sop_instance_uid:
        raise DatasetMismatch(
            "the command, or the file's meta information, names another SOP Instance UID than the "
            "data set; the sender must correct it"
        )
    if identity.sop_class_uid != sop_class_uid:
        raise DatasetMismatch(
            "the command, or the file's meta information, names another SOP class than the data "
            "set; the sender must correct it",
            code="CLASS_MISMATCH",
        )


def check_context(sop_class_uid: str, abstract_syntax_uid: str) -> None:
    """The command must name the class that its presentation context was negotiated for, one that
    is stored (PS3.7 section 9.1.1.1.3). Raises ``UnsupportedSOPClass``.
    """
    if sop_class_uid != abstract_syntax_uid or sop_class_uid not in _welcome():
        raise UnsupportedSOPClass("the context was negotiated for another SOP class")


def check_supported(sop_class_uid: str, transfer_syntax_uid: str) -> None:
    """What the listener would have refused at negotiation (PS3.4 section B.3.1).

    Raises ``UnsupportedSOPClass``, ``UnsupportedSyntax``.
    """
    syntaxes = _welcome().get(sop_class_uid)
    if syntaxes is None:
        raise UnsupportedSOPClass(
            "this is no storage SOP class that the node knows: see `dicom-node doctor --classes`"
        )
    if transfer_syntax_uid not in syntaxes:
        raise UnsupportedSyntax("this install cannot decode it: see `dicom-node doctor`")


def storage_classes() -> frozenset[str]:
    """The SOP classes that are kept."""
    return frozenset(_welcome())


@cache
def _welcome() -> dict[str, frozenset[str]]:
    """Transfer syntaxes by storage SOP class."""
    return {
        str(context.abstract_syntax): frozenset(context.transfer_syntax)
        for context in supported_contexts()
        if context.abstract_syntax != Verification
    }


def certificate_sha256(transport: Any) -> str:
    """Fingerprint of the peer's certificate, in hex; empty without TLS."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls else None
    return hashlib.sha256(certificate).hexdigest() if certificate else ""

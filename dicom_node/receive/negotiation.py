"""A-ASSOCIATE-RQ in, an answer out (PS3.8 section 9.3): pynetdicom's PDUs, our decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

REMEMBERED = 32
"""Requests, and the answers to them."""
NO_CONTEXT, NO_SYNTAX = 3, 4
"""Results of a presentation context: abstract syntax, transfer syntaxes not supported."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """How the data sets of a presentation context are encoded."""

    abstract: str
    transfer: str
    implicit: bool
    little: bool


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a peer asks for; the same object where it asks for the same again."""

    contexts: Sequence[PresentationContext]
    primitive: A_ASSOCIATE


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer gets: the PDU, the contexts by id, and what was refused, with why."""

    pdu: bytes
    accepted: Mapping[int, Syntax]
    refused: Mapping[str, Sequence[str]]
    """Reason code -> names of the SOP classes."""


@lru_cache(maxsize=REMEMBERED)
def read_request(pdu: bytes) -> Request:
    """Decode a whole A-ASSOCIATE-RQ. Raises ``ValueError`` on whatever is wrong with it.

    A modality asks for the same each time, and pynetdicom takes longer for it than for an image.
    """
    decoded = A_ASSOCIATE_RQ()
    try:
        decoded.decode(pdu)
        primitive = decoded.to_primitive()
        return Request(primitive.presentation_context_definition_list, primitive)
    except Exception as error:
        raise ValueError("the association request cannot be decoded") from error


def titles(pdu: bytes) -> tuple[str, str]:
    """Called and calling AE title as they came, without padding (PS3.8 Table 9-11).

    The decoder would raise on a wrong one; the peer should hear what is wrong.
    """
    called, calling = (pdu[at : at + 16].decode("latin-1").strip(" ") for at in (10, 26))
    return called, calling


def accept(request: Request, supported: list[PresentationContext], max_pdu: int) -> Answer:
    """A-ASSOCIATE-AC with the first transfer syntax of each context that is supported."""
    results, _ = negotiate_as_acceptor(list(request.contexts), supported)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = request.primitive.application_context_name
    primitive.calling_ae_title = request.primitive.calling_ae_title
    primitive.called_ae_title = request.primitive.called_ae_title
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = _user_information(max_pdu)
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    return Answer(pdu.encode(), _accepted(results), refused(results))


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    primitive = A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = result, source, reason
    pdu = A_ASSOCIATE_RJ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def _user_information(max_pdu: int) -> list[Any]:
    longest = MaximumLengthNotification()
    longest.maximum_length_received = max_pdu
    uid = ImplementationClassUIDNotification()
    uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    name = ImplementationVersionNameNotification()
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [longest, uid, name]


def _accepted(results: Sequence[PresentationContext]) -> dict[int, Syntax]:
    found = {}
    for context in results:
        if context.result == 0 and context.context_id is not None:
            transfer = UID(context.transfer_syntax[0])
            found[context.context_id] = Syntax(
                abstract=str(context.abstract_syntax),
                transfer=str(transfer),
                implicit=transfer.is_implicit_VR,
                little=transfer.is_little_endian,
            )
    return found


def refused(results: Sequence[PresentationContext]) -> dict[str, list[str]]:
    """Reason code -> names of the SOP classes that a peer does not get."""
    codes = {NO_CONTEXT: "NO_CONTEXT", NO_SYNTAX: "NO_SYNTAX"}
    found: dict[str, list[str]] = {}
    for context in results:
        if context.result in codes:
            names = found.setdefault(codes[context.result], [])
            names.append(UID(str(context.abstract_syntax)).name)
    return found

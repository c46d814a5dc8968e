"""STOW-RS: instances by HTTP (PS3.18 section 10.5), into the same store and ledger as C-STORE.

The answer names every instance with what became of it (PS3.18 annex I).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node.domain.errors import InvalidUID
from dicom_node.observe import log
from dicom_node.receive.dataset import checked_uid
from dicom_node.receive.intake import Intake, Outcome
from dicom_node.web.dicom_answer import WRITERS, chosen
from dicom_node.web.parts import DICOM, Parts, Unwanted
from dicom_node.web.site import Here

SOURCE = "STOW-RS"
"""Stands where a calling AE title would."""
SILENCE_S = 30.0
SLOWEST = 16 << 10
"""Bytes a second, beyond which a body may take so long to come in all."""
FAILURE_REASON, FAILED_SOP_SEQUENCE, REFERENCED_SOP_SEQUENCE = "00081197", "00081198", "00081199"
OTHER_FAILURES_SEQUENCE, RETRIEVE_URL = "0008119A", "00081190"
REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID = "00081150", "00081155"
Json = dict[str, Any]

router = APIRouter()


@router.post("/studies")
@router.post("/studies/{uid}")
async def store(request: Request, site: Here, uid: str = "") -> Response:
    """Take instances, of one study where the address names it."""
    peer = request.client.host if request.client else ""
    reserve_mib = site.settings.listen.reserve_mib
    intake = Intake(site.store, site.ledger, reserve_mib=reserve_mib, role="web")
    take = partial(intake.take, source=SOURCE, peer=peer, study=uid)
    try:
        _check_address(uid)
        kind = _answer_kind(request)
        outcomes = await _receive(request, Parts(_boundary(request), intake, take))
    except Unwanted as unwanted:
        log("web").warning("web.reject", reason=unwanted.code, status=unwanted.status, peer=peer)
        return PlainTextResponse(f"{unwanted}\n", unwanted.status)
    except ClientDisconnect:
        log("web").warning("web.reject", reason="ASSOC_ABORT", status=400, peer=peer)
        return Response(status_code=400)
    return Response(WRITERS[kind](_body(outcomes)), _status(outcomes), media_type=kind)


async def _receive(request: Request, parts: Parts) -> Sequence[Outcome]:
    try:
        async for chunk in _in_time(request.stream()):
            await run_in_threadpool(parts.write, chunk)
        return parts.finish()
    finally:
        await run_in_threadpool(parts.discard)


async def _in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, as long as they come. Raises ``Unwanted`` after a silence, or after many."""
    waited, received = 0.0, 0
    while True:
        began = time.monotonic()
        left = SILENCE_S + received / SLOWEST - waited
        try:
            async with asyncio.timeout(min(SILENCE_S, left)):
                chunk = await anext(chunks, None)
        except TimeoutError:
            text = "Too little came for too long. Send the instances again."
            raise Unwanted(408, "BODY_DEADLINE", text) from None
        if chunk is None:
            return
        waited, received = waited + time.monotonic() - began, received + len(chunk)
        yield chunk


def _check_address(uid: str) -> None:
    try:
        if uid:
            checked_uid(uid.encode("ascii", "replace"))
    except InvalidUID as error:
        raise Unwanted(400, error.code, "The address names no valid Study Instance UID.") from error


def _answer_kind(request: Request) -> str:
    """Before anything is taken: who cannot read the answer would not know what was."""
    kind = chosen(",".join(request.headers.getlist("accept")))
    if kind is None:
        raise Unwanted(406, "ACCEPT", f"The answer can be one of {', '.join(WRITERS)}.")
    return kind


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/related" or options.get(b"type", DICOM).lower() != DICOM:
        text = 'Send multipart/related; type="application/dicom"; boundary=...'
        raise Unwanted(415, "MEDIA_TYPE", text)
    if not options.get(b"boundary"):
        raise Unwanted(400, "MULTIPART", "Content-Type names no boundary.")
    return options[b"boundary"]


def _status(outcomes: Sequence[Outcome]) -> int:
    """PS3.18 Table 10.5.3-1: all, some or none were taken."""
    failed = sum(outcome.status != 0 for outcome in outcomes)
    return 200 if not failed else 409 if failed == len(outcomes) else 202


def _body(outcomes: Sequence[Outcome]) -> Json:
    """Store Instances Response Module (PS3.18 Table I.1-1), as DICOM JSON has it."""
    taken = [_reference(o) | {RETRIEVE_URL: {"vr": "UR"}} for o in outcomes if not o.status]
    failed = [_reference(o) | _reason(o) for o in outcomes if o.status and o.sop_instance_uid]
    unnamed = [_reason(o) for o in outcomes if o.status and not o.sop_instance_uid]
    body: Json = {RETRIEVE_URL: {"vr": "UR"}}
    sequences = {
        REFERENCED_SOP_SEQUENCE: taken,
        FAILED_SOP_SEQUENCE: failed,
        OTHER_FAILURES_SEQUENCE: unnamed,
    }
    return body | {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def _reference(outcome: Outcome) -> Json:
    return {
        REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [outcome.sop_class_uid]},
        REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [outcome.sop_instance_uid]},
    }


def _reason(outcome: Outcome) -> Json:
    return {FAILURE_REASON: {"vr": "US", "Value": [outcome.status]}}

"""What stands before every route: host, password, origin and size of a request; safe headers.

A page of another site that the reader has open must learn nothing and change nothing here: its
name for this address is refused (DNS rebinding), and so is every form that it sends.
"""

import base64
import math
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.observe import log
from dicom_node.settings.web import Web, is_loopback
from dicom_node.web.brake import Brake
from dicom_node.web.site import TOKEN, TOKEN_LENGTH

MAX_BODY_BYTES = 64 * 1024
FORM = "application/x-www-form-urlencoded"
MAX_DEPOSIT_BYTES = 2 << 30
DEPOSIT = "multipart/related"
_DEPOSIT_PATH = re.compile(r"/studies(/[^/]*)?").fullmatch
"""STOW-RS (PS3.18 section 10.5), which programs send, not the forms of these pages."""
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
OPEN_PATHS = {"/healthz"}
TOO_MANY = "Too many wrong passwords came from your address. Try again in {} seconds."
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}
REASONS = {
    400: "HOST",
    401: "PASSWORD",
    403: "CSRF",
    413: "BODY_SIZE",
    415: "BODY_SIZE",
    429: "PASSWORD_LIMIT",
}
"""Reason codes of the log, by status."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; "
        "form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web
        self._brake = Brake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what must not pass; else let it pass, measured, and mark the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refused = refusal(request, self._web, self._brake)
        if refused is not None:
            note(request, refused.status_code)
        answer = refused or self._app
        if request.method == "HEAD":  # as GET; the server leaves out the body
            scope = {**scope, "method": "GET"}
        await answer(scope, _limited(receive, request), _with_headers(send))


def refusal(request: Request, web: Web, brake: Brake) -> Response | None:
    """The answer to a request that must not reach a route; none: it may."""
    if not _known_host(request.headers, web.host):
        return _refuse(400, "This node does not go by that name. Open it by its own address.")
    if request.url.path not in OPEN_PATHS and web.password is not None:
        answer = _unknown(request, web.password.get_secret_value().encode(), brake)
        if answer is not None:
            return answer
    if request.method in SAFE_METHODS:
        return None
    by_browser = {"origin", "sec-fetch-site"} & set(request.headers)
    if (by_browser or not _is_deposit(request)) and not _same_origin(request.headers):
        return _refuse(403, "The form came from another site. Open the page here and try again.")
    return _unfit_body(request)


def _refuse(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def note(request: Request, status: int, reason: str = "") -> None:
    """One line of the log that says why a request was refused, and whose it was."""
    why = reason or REASONS[status]
    log("web").warning("web.reject", reason=why, status=status, peer=peer_of(request))


def peer_of(request: Request) -> str:
    """The address that asks; a proxy on this machine says whose it is (X-Forwarded-For)."""
    return request.client.host if request.client else ""


def _is_deposit(request: Request) -> bool:
    return request.method == "POST" and _DEPOSIT_PATH(request.url.path) is not None


def _most(request: Request) -> int:
    return MAX_DEPOSIT_BYTES if _is_deposit(request) else MAX_BODY_BYTES


def _known_host(headers: Headers, bound_to: str) -> bool:
    """Only a node on loopback can tell which names are its own."""
    name = _netloc(f"//{headers.get('host', '')}").lower()
    without_port = name if name.endswith("]") else name.rpartition(":")[0] or name
    own = {*LOOPBACK_NAMES, bound_to.lower()}
    return bool(name) and (not is_loopback(bound_to) or without_port in own)


def _unknown(request: Request, password: bytes, brake: Brake) -> Response | None:
    """The answer to who does not know the password, or has said too many; none: come in."""
    given = _password(request.headers.get("authorization", ""))
    peer, token = peer_of(request), request.cookies.get(TOKEN, "")
    if given is not None and not brake.knows(token) and (wait_s := brake.wait_s(peer)):
        return _refuse(429, TOO_MANY.format(math.ceil(wait_s)), retry_after(wait_s))
    if given is not None and secrets.compare_digest(given, password):
        if len(token) == TOKEN_LENGTH:
            brake.let_in(token)
        return None
    if given is not None:
        brake.wrong(peer, given)
    challenge = {"WWW-Authenticate": 'Basic realm="DICOM node", charset="UTF-8"'}
    return _refuse(401, "Log in with the password of this node.", challenge)


def retry_after(wait_s: float) -> dict[str, str]:
    """The header that says when to come again (RFC 9110 section 10.2.3)."""
    return {"Retry-After": str(math.ceil(wait_s))}


def _password(authorization: str) -> bytes | None:
    """What follows the user's name; none: no password was said."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return None


def _same_origin(headers: Headers) -> bool:
    """Browsers say where a form comes from; ``Sec-Fetch-Site`` only over HTTPS or loopback."""
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    return _netloc(headers.get("origin", "")) == headers.get("host", "")


def _netloc(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _unfit_body(request: Request) -> Response | None:
    headers, wanted = request.headers, DEPOSIT if _is_deposit(request) else FORM
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted or "content-encoding" in headers:
        return _refuse(415, f"Send it as {wanted}, not compressed.")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:12]) > _most(request):
        return _refuse(413, f"Send at most {_most(request)} bytes at a time.")
    return None


def _limited(receive: Receive, request: Request) -> Receive:
    """Count what arrives: a chunked body says no length beforehand."""
    received, most = 0, _most(request)

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            note(request, 413)
            raise HTTPException(413, f"Send at most {most} bytes at a time.")
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers

"""The web application, put together."""

from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore
from dicom_node.web import forms, pages, status, stow
from dicom_node.web.connections import LimitedRequests
from dicom_node.web.guard import HEADERS, Guard
from dicom_node.web.site import Site, templates

TITLES = {
    403: "Not allowed",
    404: "Not found",
    405: "Not offered",
    409: "Too late",
    413: "Too much",
    422: "Not understood",
    429: "Not now",
    503: "Not now",
}
UNFIT = "A field is missing, too long or not of the right kind. Go back and correct it."
BUSY = "The ledger does not answer. Wait a moment, then reload; if it stays, read the node's log."
BROKEN = "The node failed, not you. The log names the place; the study itself is safe."
ELSEWHERE = "There is no such page here. Go back to the worklist."


class _Static(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"  # kept, but asked for after an upgrade
        return response


def create_app(settings: Settings, ledger: Ledger, store: InstanceStore) -> FastAPI:
    """The page over an open ledger and store, behind its guard."""
    app = FastAPI(title="DICOM node", openapi_url=None)
    app.state.site = Site(settings, ledger, store, templates())
    app.mount("/static", _Static(directory=Path(__file__).parent / "static"), name="static")
    for part in (pages, forms, status, stow):
        app.include_router(part.router)
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(LedgerBusy, _busy)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(LimitedRequests)  # behind the guard: who may not ask takes nobody's place
    app.add_middleware(Guard, web=settings.web)
    return app


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, AnyHTTPException):
        raise error
    ours = isinstance(error, HTTPException)  # the framework's own texts give no advice
    response = _error(request, error.status_code, error.detail if ours else ELSEWHERE)
    response.headers.update(error.headers or {})
    return response


def _unfit(request: Request, error: Exception) -> Response:
    """A wrong address is not found; a wrong form is told so, without repeating what it said."""
    fields = error.errors() if isinstance(error, RequestValidationError) else ()
    if any("path" in field["loc"] for field in fields):
        return _error(request, 404, ELSEWHERE)
    return _error(request, 422, UNFIT)


def _busy(request: Request, _error_: Exception) -> Response:
    return _error(request, 503, BUSY)


def _broken(request: Request, _error_: Exception) -> Response:
    """Made outside of the guard, which therefore cannot add its headers."""
    response = _error(request, 500, BROKEN)
    response.headers.update(HEADERS)
    return response


def _error(request: Request, code: int, what: str) -> Response:
    site: Site = request.app.state.site
    title = TITLES.get(code, "Something went wrong")
    return site.page(request, "error.html", code, title=title, code=code, what=what)

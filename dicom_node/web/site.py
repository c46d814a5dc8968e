"""What every route stands on: settings, ledger, store, and templates that trust nothing."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from dicom_node import __version__
from dicom_node.domain.wording import percent
from dicom_node.ledger import Ledger
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore
from dicom_node.web import text, words
from dicom_node.web.brake import Brake

TOKEN = "dicom_node_token"  # noqa: S105 - the name of the cookie
TOKEN_LENGTH = 43


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of the running node that the pages read."""

    settings: Settings
    ledger: Ledger
    store: InstanceStore
    templates: Environment
    rejections: Brake = field(default_factory=Brake)
    """On guessing the rejection password."""

    @property
    def destinations(self) -> frozenset[str]:
        """Names of the destinations that the settings have now."""
        return frozenset(d.name for d in self.settings.destinations)

    def page(
        self, request: Request, name: str, status_code: int = 200, **values: Any
    ) -> HTMLResponse:
        """A template as an answer, with the token that its forms send back."""
        known = request.cookies.get(TOKEN, "")
        token = known if len(known) == TOKEN_LENGTH else secrets.token_urlsafe(32)
        html = self.templates.get_template(name).render(
            now=time.time(),
            token=token,
            guarded=self.settings.web.rejection_password is not None,
            **values,
        )
        response = HTMLResponse(html, status_code)
        if token != known:
            secure = request.url.scheme == "https"
            response.set_cookie(TOKEN, token, httponly=True, samesite="strict", secure=secure)
        return response


def templates() -> Environment:
    """Jinja with escaping on, undefined names as errors, and every value made neutral."""
    environment = Environment(
        loader=PackageLoader("dicom_node.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.neutral,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(version=__version__, kind=words.kind)
    for function in (
        text.ago,
        text.clock,
        text.count,
        text.dicom_date,
        text.iso,
        percent,
        text.person,
        text.short,
        text.size,
        text.zone,
    ):
        environment.filters[function.__name__] = function
    return environment


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_site)]

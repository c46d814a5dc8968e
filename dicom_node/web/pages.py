"""The pages: worklist, one study, one job with its report."""

import re
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from dicom_node.ledger.breaker import REASON
from dicom_node.ledger.pages import StudyPage
from dicom_node.ledger.worklist import Stage
from dicom_node.observe import printable
from dicom_node.web import answers, chronicle, words
from dicom_node.web.forms import known_job, own_form
from dicom_node.web.site import Here, Site
from dicom_node.web.status import silent_roles

router = APIRouter()

PAGE_SIZE = 50
MAX_PAGE = 1_000_000
_UID = re.compile(r"[0-9.]{1,64}")
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)

StageOrAll = Stage | Literal[""]
Name = Annotated[str, Form(max_length=128)]
Number = Annotated[int, Form(ge=1, le=MAX_PAGE)]


@router.get("/")
def worklist(request: Request, site: Here, state: StageOrAll = "", page: int = 1) -> HTMLResponse:
    """The newest studies. State and page may stand in the address, the search may not."""
    return _worklist(request, site, state, "", min(page, MAX_PAGE))


@router.post("/", dependencies=[Depends(own_form)])
def search(
    request: Request,
    site: Here,
    q: Name = "",
    state: Annotated[StageOrAll, Form()] = "",
    page: Number = 1,
) -> HTMLResponse:
    """The same, searched and refreshed: a patient's name stays out of addresses and logs."""
    return _worklist(request, site, state, q, page)


def _worklist(request: Request, site: Site, state: StageOrAll, q: str, number: int) -> HTMLResponse:
    found = site.ledger.pages.worklist(
        stage=state or None, search=printable(q, 128), page=number, size=PAGE_SIZE
    )
    response = site.page(
        request,
        "worklist.html",
        found=found,
        q=q,
        stages=Stage,
        say=answers,
        silent=silent_roles(site.ledger.roles.seen()),
        paused=site.ledger.breaker.paused(),
        stuck=answers.stuck(site.ledger.deliveries.backlog(), site.destinations),
        why_paused=words.reason(REASON),
        destinations=site.destinations,
        quiet_s=site.settings.completeness.quiet_s,
    )
    response.headers["HX-Replace-Url"] = f"/?state={state}&page={found.page}"
    return response


@router.get("/studies/{uid}")
def study(request: Request, site: Here, uid: str) -> HTMLResponse:
    """One study: answers, series, objects and time line."""
    page = _known_study(site, uid)
    return site.page(
        request,
        "study.html",
        page=page,
        say=answers,
        sections=chronicle.sections(page, site.destinations),
        destinations=site.destinations,
        series=chronicle.series_lines(page),
        progress=chronicle.progress(page),
        events=chronicle.event_lines(page),
        quiet_s=site.settings.completeness.quiet_s,
    )


def _known_study(site: Site, uid: str) -> StudyPage:
    page = site.ledger.pages.study(uid) if _UID.fullmatch(uid) else None
    if page is None:
        raise HTTPException(
            404,
            "This node knows no such study. Look for it in the worklist; if it is not there, "
            "send it again from the PACS.",
        )
    return page


@router.get("/jobs/{job_id}")
def job(request: Request, site: Here, job_id: UUID) -> HTMLResponse:
    """One job: its report in a frame, and what readers say of it."""
    row = known_job(site, job_id)
    page = _known_study(site, row["study_instance_uid"])
    section = next(
        s for s in chronicle.sections(page, site.destinations) if s.answer.job["id"] == row["id"]
    )
    return site.page(request, "job.html", page=page, section=section)


@router.get("/jobs/{job_id}/report")
def report(site: Here, job_id: UUID) -> Response:
    """The stored report, as it is, locked in: it may show pictures and nothing else."""
    return _report(site, job_id, "inline")


@router.get("/jobs/{job_id}/report/download")
def download(site: Here, job_id: UUID) -> Response:
    """The stored report as a file whose name tells nothing of the patient."""
    return _report(site, job_id, "attachment")


def _report(site: Site, job_id: UUID, disposition: str) -> Response:
    sha256 = known_job(site, job_id)["report_sha256"]
    path = site.store.path(sha256)
    if not sha256 or not path.is_file():
        raise HTTPException(404, "This job has no report: it has no result, or the file is gone.")
    return FileResponse(
        path,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": REPORT_POLICY},
        filename=f"report-{job_id}.html",
        content_disposition_type=disposition,
    )

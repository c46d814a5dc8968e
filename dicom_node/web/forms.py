"""What a person may change: order work again, and say what a reader thinks of a result."""

import math
import secrets
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse

from dicom_node.domain.delivery import ARRIVED
from dicom_node.domain.review import Review, Verdict
from dicom_node.ledger.worklist import Row
from dicom_node.observe import printable
from dicom_node.web.guard import TOO_MANY, note, peer_of, retry_after
from dicom_node.web.site import TOKEN, Here, Site

MAX_READER, MAX_COMMENT = 64, 2000
MOVED_ON = "It has moved on meanwhile. Go back and look at its state now."


def own_form(request: Request, token: Annotated[str, Form(max_length=64)] = "") -> None:
    """Only a form of this page knows the token in the cookie; 403 for any other."""
    expected = request.cookies.get(TOKEN, "")
    if not expected or not secrets.compare_digest(token.encode(), expected.encode()):
        note(request, 403)
        raise HTTPException(
            403, "The form is older than this session. Go back, reload the page, then try again."
        )


router = APIRouter(dependencies=[Depends(own_form)])


@router.post("/jobs/{job_id}/retry")
def retry_job(site: Here, job_id: UUID) -> RedirectResponse:
    """FAILED or QUARANTINED -> READY; 409 if it is neither any more."""
    job = known_job(site, job_id)
    if not site.ledger.jobs.retry(str(job_id)):
        raise HTTPException(409, MOVED_ON)
    return _to_study(job)


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(site: Here, delivery_id: UUID) -> RedirectResponse:
    """One object that is held, or waits in a pause, becomes due now."""
    delivery = site.ledger.pages.delivery(str(delivery_id))
    if delivery is None:
        raise HTTPException(404, "There is no such delivery. Go back to the worklist.")
    if not site.ledger.deliveries.retry(str(delivery_id)):
        raise HTTPException(409, MOVED_ON)
    return _to_study(known_job(site, UUID(delivery["job_id"])))


@router.post("/jobs/{job_id}/deliveries/retry")
def retry_deliveries(site: Here, job_id: UUID) -> RedirectResponse:
    """Every object of a job that is held, or waits in a pause, becomes due now."""
    job = known_job(site, job_id)
    page = site.ledger.pages.study(job["study_instance_uid"])
    for delivery in page.deliveries if page else ():
        if delivery["job_id"] == job["id"] and delivery["state"] not in ARRIVED:
            site.ledger.deliveries.retry(delivery["id"])
    return _to_study(job)


@router.post("/jobs/{job_id}/review")
def review(
    site: Here,
    job_id: UUID,
    reader: Annotated[str, Form(min_length=1, max_length=MAX_READER)],
    verdict: Annotated[Literal[Verdict.AGREE, Verdict.DISAGREE], Form()],
    comment: Annotated[str, Form(max_length=MAX_COMMENT)] = "",
    back: Annotated[Literal["study", "job"], Form()] = "study",
) -> RedirectResponse:
    """Keep a reader's word; it stands beside the earlier ones."""
    job = known_job(site, job_id)
    if not job["report_sha256"] and not job["summary"]:
        raise HTTPException(409, "There is no result to agree or disagree with yet.")
    said = Review(str(job_id), _name(reader), verdict, _lines(comment), datetime.now(UTC))
    site.ledger.pages.review(said)
    return _to_study(job) if back == "study" else _to(f"/jobs/{job_id}#reviews")


@router.post("/jobs/{job_id}/reject")
def reject(
    request: Request,
    site: Here,
    job_id: UUID,
    reader: Annotated[str, Form(min_length=1, max_length=MAX_READER)],
    sure: Annotated[Literal["yes"], Form()],
    comment: Annotated[str, Form(max_length=MAX_COMMENT)] = "",
    password: Annotated[str, Form(max_length=256)] = "",
) -> RedirectResponse:
    """Retract a result that this reader disagrees with; there is no way back.

    409 without a disagreement, and where there is nothing to reject any more.
    """
    _may_reject(request, site, password)
    job, name = known_job(site, job_id), _name(reader)
    if not _disagrees(site, job, name):
        raise HTTPException(409, "Say first, under the same name, that you disagree, and why.")
    said = Review(str(job_id), name, Verdict.REJECT, _lines(comment), datetime.now(UTC))
    if not site.ledger.rejections.ask(said):
        raise HTTPException(409, MOVED_ON)
    return _to_study(job)


def _may_reject(request: Request, site: Site, password: str) -> None:
    wanted, peer = site.settings.web.rejection_password, peer_of(request)
    if wanted is None:
        return
    if wait_s := site.rejections.wait_s(peer):
        note(request, 429)
        raise HTTPException(429, TOO_MANY.format(math.ceil(wait_s)), retry_after(wait_s))
    if not secrets.compare_digest(password.encode(), wanted.get_secret_value().encode()):
        site.rejections.wrong(peer, password.encode())
        note(request, 403, "PASSWORD")
        raise HTTPException(
            403,
            "Only who knows the rejection password may retract a result. Go back, and try again.",
        )


def _disagrees(site: Site, job: Row, reader: str) -> bool:
    page = site.ledger.pages.study(job["study_instance_uid"])
    return any(
        row["job_id"] == job["id"]
        and row["reader"] == reader
        and row["verdict"] == Verdict.DISAGREE
        for row in (page.reviews if page else ())
    )


def known_job(site: Site, job_id: UUID) -> Row:
    """A job's row; 404 with advice if there is none."""
    job = site.ledger.pages.job(str(job_id))
    if job is None:
        raise HTTPException(404, "There is no such job. Go back to the worklist.")
    return job


def _name(reader: str) -> str:
    name = printable(" ".join(reader.split()), MAX_READER)
    if not name:
        raise HTTPException(422, "Give your name, so that others know who says so.")
    return name


def _lines(comment: str) -> str:
    lines = (printable(line.rstrip(), MAX_COMMENT) for line in comment.splitlines())
    return "\n".join(lines).strip()


def _to_study(job: Row) -> RedirectResponse:
    return _to(f"/studies/{job['study_instance_uid']}#job-{job['id']}")


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303)

"""The two tasks: claim, do, close. A message is ids; every fact is in the ledger.

A task never raises for a foreseen reason and never retries by Celery: it writes what happened and
returns, and the sweep rings again when the ledger says so.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING

from billiard.exceptions import SoftTimeLimitExceeded

from dicom_node import faults
from dicom_node.broker import ANALYSE, DELIVER
from dicom_node.domain.delivery import Proof
from dicom_node.domain.errors import (
    LedgerBusy,
    LedgerConflict,
    ModelRefused,
    Refused,
    Transient,
    Unusable,
)
from dicom_node.domain.job import MAX_ATTEMPTS, POISON
from dicom_node.observe import log, set_up_logging
from workers.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from dicom_node.domain.job import Claim
    from dicom_node.ledger import Ledger
    from dicom_node.ledger.jobs import Jobs
    from dicom_node.settings.node import Settings
    from dicom_node.settings.results import Destination
    from workers.bootstrap import Worker

TRANSIENT_PAUSE_S = 30.0
TIME_LIMIT = "TIME_LIMIT"
_TOKEN = mmap.mmap(-1, 36)
"""Of the claim that the one child works on, in memory that its parent shares."""


def register(app: Celery, settings: Settings) -> Callable[[], Worker]:
    """Give the application its tasks; what they need is made in the child, when first asked for."""
    made: list[Worker] = []

    def worker() -> Worker:
        if not made:
            from workers.bootstrap import Worker

            set_up_logging(settings.log)
            made.append(Worker.make(settings))
        return made[0]

    @app.task(name=ANALYSE)  # type: ignore[untyped-decorator]
    def _analyse(job_id: str) -> None:
        with _telling(job_id):
            analyse(worker(), job_id)

    @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
    def _deliver(job_id: str, destination: str) -> None:
        with _telling(job_id):
            deliver(worker(), job_id, destination)

    return worker


@contextmanager
def _telling(job_id: str) -> Iterator[None]:
    """A ledger that takes nothing costs this ring: the sweep rings again, or frees the claim."""
    try:
        yield
    except LedgerBusy as busy:
        log("worker").warning("task.given_up", job=job_id, reason=busy.code)


def analyse(worker: Worker, job_id: str) -> None:
    """Claim a job, analyse it, close it with results or with a reason.

    A job that nobody may claim may owe its readers a word: why it has no result, or that its
    result was taken back.
    """
    claim = worker.ledger.jobs.claim(job_id)
    if claim is None:
        _speak(worker, job_id)
        return
    log("worker").info("job.claimed", job=job_id, attempt=claim.attempt)
    _TOKEN[:] = claim.token.encode()
    with Heartbeat(lambda: worker.ledger.jobs.beat(claim), worker.settings.sweep.lease_s):
        try:
            _close(worker, claim)
        except LedgerConflict:
            log("worker").warning("job.claim_lost", job=job_id)


def _speak(worker: Worker, job_id: str) -> None:
    from workers.statements import speak

    try:
        speak(worker, job_id)
    except LedgerConflict:
        log("worker").info("job.said_before", job=job_id)
    except Exception as error:  # noqa: BLE001 - the sweep rings again, and the log says why
        log("worker").warning("job.speechless", job=job_id, reason="INTERNAL", exc_info=error)


def _close(worker: Worker, claim: Claim) -> None:
    jobs = worker.ledger.jobs
    try:
        faults.point("worker.claimed")
        worker.run(claim)
    except LedgerConflict:
        raise
    except Unusable as error:
        jobs.quarantine(claim, error.code)
        _quarantined(claim, error.code, error)
    except ModelRefused as error:
        _note(claim, error.code, error)
        jobs.fail(claim, error.code)
    except (LedgerBusy, Refused) as error:
        _note(claim, error.code, error)
        jobs.postpone(claim, error.code, TRANSIENT_PAUSE_S)
    except Transient as error:
        _note(claim, error.code, error)
        _release(jobs, claim, error.code, TRANSIENT_PAUSE_S)
    except SoftTimeLimitExceeded as error:
        _note(claim, TIME_LIMIT, error)
        _release(jobs, claim, TIME_LIMIT)
    except MemoryError as error:
        _note(claim, "MEMORY", error)
        _release(jobs, claim, "MEMORY", TRANSIENT_PAUSE_S)
    except Exception as error:  # noqa: BLE001 - whatever it was, the ledger must hear of it
        _note(claim, "INTERNAL", error)
        _release(jobs, claim, "INTERNAL")
    else:
        log("worker").info("job.analysed", job=claim.id, attempt=claim.attempt)


def free_hung(ledger: Ledger, job_id: str, error: BaseException) -> None:
    """In the parent: free the claim of the child that is killed at the hard limit.

    A child that hangs outside of Python hears of no limit, and cannot say so. Where this fails,
    the sweep finds the claim dead after a while.
    """
    try:
        claim = ledger.jobs.abandoned(job_id, _TOKEN[:].decode())
        if claim is not None:
            _note(claim, TIME_LIMIT, error)
            _release(ledger.jobs, claim, TIME_LIMIT)
    except (LedgerBusy, LedgerConflict) as failure:
        log("worker").warning("job.not_freed", job=job_id, reason=failure.code)


def _release(jobs: Jobs, claim: Claim, reason: str, pause_s: float = 0) -> None:
    jobs.release(claim, reason, pause_s=pause_s)
    if claim.attempt >= MAX_ATTEMPTS:
        _quarantined(claim, "POISON" if reason in POISON else reason)


def _quarantined(claim: Claim, reason: str, error: BaseException | None = None) -> None:
    log("worker").warning(
        "job.quarantine", job=claim.id, attempt=claim.attempt, reason=reason, exc_info=error
    )


def _note(claim: Claim, reason: str, error: BaseException) -> None:
    log("worker").warning(
        "job.stopped", job=claim.id, attempt=claim.attempt, reason=reason, exc_info=error
    )


def deliver(worker: Worker, job_id: str, destination: str) -> None:
    """Claim what a job owes a destination and send it; ask for what it was sent."""
    target = next((d for d in worker.settings.destinations if d.name == destination), None)
    if target is None:
        log("deliver").warning("delivery.no_destination", job=job_id, destination=destination)
        if unproven := worker.ledger.commitments.claim(job_id, destination):
            worker.ledger.commitments.postpone(unproven, "UNKNOWN_DESTINATION")
        return
    _ship(worker, job_id, target)
    _prove(worker, job_id, target)


def _ship(worker: Worker, job_id: str, target: Destination) -> None:
    from dicom_node.send.shipping import ship

    shipment = worker.ledger.deliveries.claim(job_id, target.name)
    if shipment is None:
        return
    lease_s = worker.settings.sweep.lease_s
    with Heartbeat(lambda: worker.ledger.deliveries.beat(shipment), lease_s):
        try:
            ship(shipment, target, worker.settings.listen.ae_title, worker.ledger, worker.store)
        except LedgerConflict:
            log("deliver").warning("delivery.claim_lost", job=job_id, destination=target.name)


def _prove(worker: Worker, job_id: str, target: Destination) -> None:
    from dicom_node.send.commitment import prove
    from dicom_node.send.cstore import Peer

    commitments = worker.ledger.commitments
    peer = Peer(target.host, target.port, target.ae_title, worker.settings.listen.ae_title)
    while (unproven := commitments.claim(job_id, target.name)) is not None:
        try:
            if target.to_prove is Proof.NONE:  # any more
                commitments.give_up(unproven, "")
            else:
                offer = target.to_prove if unproven.by is Proof.COMMITMENT else unproven.by
                prove(unproven, peer, worker.ledger, worker.reports(peer).on_report, offer)
        except LedgerConflict:
            log("deliver").warning("proof.claim_lost", job=job_id, destination=target.name)

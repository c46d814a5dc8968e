"""The sweep: closes ready studies, opens their jobs, frees dead claims, rings for what is due.

It holds no fact: kill it at any moment, start it again, and it finds all that is due in the
ledger. Two sweeps at once do no harm, for every transition is guarded.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from dicom_node import faults
from dicom_node.broker import ANALYSE, DELIVER, Broker
from dicom_node.catalog import BundleFolder
from dicom_node.domain.errors import BrokerUnavailable, LedgerBusy, LedgerConflict
from dicom_node.domain.job import MAX_ATTEMPTS, JobState
from dicom_node.domain.study import Series, Study
from dicom_node.headers import GuardedReader, read_study
from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.ledger.breaker import REASON
from dicom_node.observe import log
from dicom_node.receive.completeness import Readiness, Ready, Why, lacking, series_keywords
from dicom_node.receive.promises import promises
from dicom_node.retention import Retention
from dicom_node.routing import keywords, route
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore
from dicom_node.watch import PauseWatch, Watch

Calls = Mapping[Hashable, Callable[[], None]]
TELLABLE = frozenset({"INCOMPLETE", "UID_CONFLICT", "ALTERED"})
"""Reasons of a study that a document may tell. One that names two patients belongs to neither of
them (``UNTELLABLE``), and one whose headers cannot be read to nobody: those are told on the page
alone."""


class Sweep:
    """One pass after the other over all that waits."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: InstanceStore,
        broker: Broker,
        bundles: Sequence[BundleFolder],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._broker = broker
        self._bundles = bundles
        self._clock = clock
        self._readiness = Readiness(settings.completeness, promises(settings, ledger))
        self._keywords = keywords(bundles) | series_keywords(settings.completeness.series)
        self._claims = Watch()
        self._pauses = PauseWatch()
        self._reader = GuardedReader()
        self._rung: dict[Hashable, float] = {}
        self._paused: set[str] = set()
        self._setbacks: dict[str, tuple[int, float]] = {}
        """Of a study: how often closing it failed in a way that nobody foresaw, and when."""
        self._retention = Retention(settings, ledger, clock)
        self._log = log("sweep")

    def close(self) -> None:
        """End the reading process."""
        self._reader.close()

    def reopen(self) -> None:
        """Try again what a fault of ours held back, and what the disk had altered and no longer
        has: at the start, when somebody may have mended either.
        """
        studies = self._ledger.studies
        restored = [uid for uid in studies.held_back("ALTERED") if self._is_sound(uid)]
        for uid in [*studies.reopen("INTERNAL"), *studies.reopen("ALTERED", restored)]:
            self._log.info("study.reopened", study=uid)

    def _is_sound(self, uid: str) -> bool:
        files = map(self._store.file, self._ledger.studies.instances(uid))
        return all(file.is_as_expected for file in files)

    def once(self) -> None:
        """One pass."""
        self.close_ready_studies()
        self.free_dead_claims()
        self.end_pauses()
        self.tell_of_paused_models()
        self.ring()
        self._retention.once()

    def close_ready_studies(self) -> None:
        """RECEIVING -> ROUTED, NO_MODEL or QUARANTINED for each study that is ready."""
        for ready in self._readiness.ready(self._ledger.studies.receiving(), self._clock()):
            if not self._is_set_back(ready):
                self._try_to_close(ready)

    def _is_set_back(self, ready: Ready) -> bool:
        _, at = self._setbacks.get(ready.study.study_instance_uid, (0, -math.inf))
        return self._clock() - at < self._settings.sweep.ring_again_s

    def _try_to_close(self, ready: Ready) -> None:
        uid = ready.study.study_instance_uid
        try:
            self._close(ready)
            self._setbacks.pop(uid, None)
        except LedgerConflict:
            self._log.info("study.late_image", study=uid)
        except LedgerBusy:
            raise
        except Exception as error:  # noqa: BLE001 - one study must not keep the others waiting
            self._log.error("study.stopped", study=uid, reason="INTERNAL", exc_info=error)
            self._set_back(ready)

    def _set_back(self, ready: Ready) -> None:
        """The study is tried again in a while; the third time it is held back."""
        uid = ready.study.study_instance_uid
        tries = 1 + self._setbacks.pop(uid, (0, 0.0))[0]
        if tries < MAX_ATTEMPTS:
            self._setbacks[uid] = (tries, self._clock())
            return
        with suppress(LedgerConflict):
            self._hold_back(ready, Study(uid, ()), "INTERNAL")

    def _close(self, ready: Ready) -> None:
        uid = ready.study.study_instance_uid
        study = self._read(uid)
        for code in notes(ready.study, study):
            self._log.info("study.note", study=uid, reason=code)
        if reason := contradiction(study, self._ledger.studies.is_contested(uid)):
            self._hold_back(ready, study, reason)
        elif ready.why is Why.DEADLINE:
            self._at_deadline(ready, study)
        elif missing := lacking(study, self._settings.completeness.series):
            self._readiness.wait_for_series(ready.study)
            self._log.info("study.waits", study=uid, reason="SERIES_MISSING", count=len(missing))
        else:
            self._open_jobs(ready, study)

    def _read(self, uid: str) -> Study:
        instances = self._ledger.studies.instances(uid)
        self._reader.next_study()
        return read_study(uid, instances, self._store, self._reader, self._keywords)

    def _at_deadline(self, ready: Ready, study: Study) -> None:
        if self._settings.completeness.at_deadline == "incomplete":
            self._hold_back(ready, study, "INCOMPLETE")
        else:
            self._open_jobs(ready, study)

    def _open_jobs(self, ready: Ready, study: Study) -> None:
        proposals = route(study, self._bundles)
        results = self._settings.written
        faults.point("sweep.routed")
        opened = self._ledger.studies.close(
            ready.study,
            study,
            proposals,
            results.sha256,
            decline=JobState.DECLINED in results.answered,
        )
        faults.point("sweep.closed")
        uid = study.study_instance_uid
        if has_images(study) and not any(proposal.inputs for proposal in proposals):
            self._log.info("study.note", study=uid, reason="UNSUPPORTED")
        self._log.info("study.closed", study=uid, reason=ready.why.value, count=len(opened))

    def _hold_back(self, ready: Ready, study: Study, reason: str) -> None:
        results = self._settings.written
        told = JobState.DECLINED in results.answered and reason in TELLABLE
        declined_under = results.sha256 if told else ""
        self._ledger.studies.quarantine(ready.study, study, reason, declined_under)
        self._log.warning("study.quarantine", study=study.study_instance_uid, reason=reason)

    def free_dead_claims(self) -> None:
        """Release every claim whose heartbeat has stood still for the length of a lease."""
        jobs = self._ledger.jobs.beats()
        shipments = self._ledger.deliveries.beats()
        self._claims.keep_only([*jobs, *shipments])
        for job_id, token in self._dead(jobs):
            with suppress(LedgerConflict):  # another sweep was faster, or its worker woke up
                self._free(str(job_id), token)
        for _, token in self._dead(shipments):
            self._ledger.deliveries.give_back(token)

    def _free(self, job_id: str, token: str) -> None:
        if claim := self._ledger.jobs.abandoned(job_id, token):
            faults.point("sweep.freeing")
            self._ledger.jobs.release(claim, "LEASE_LOST")
            self._log.warning("job.lease_lost", job=job_id, attempt=claim.attempt)
            if claim.attempt >= MAX_ATTEMPTS:
                self._log.warning("job.quarantine", job=job_id, reason="POISON")

    def _dead(self, beats: Mapping[Any, tuple[str, int]]) -> list[tuple[Hashable, str]]:
        now = self._clock()
        lease_s = self._settings.sweep.lease_s
        return [
            (key, beat[0])
            for key, beat in beats.items()
            if self._claims.still_s(key, beat, now) >= lease_s
        ]

    def end_pauses(self) -> None:
        """What was put off is due once its pause has passed by our own clock."""
        over = self._pauses.over(self._ledger.pauses.begun(), self._clock())
        if over:
            self._ledger.pauses.end(over)

    def tell_of_paused_models(self) -> None:
        """One line for each model whose circuit breaker has opened."""
        paused = {model.id for model in self._ledger.breaker.paused()}
        for model in sorted(paused - self._paused):
            self._log.error("model.paused", model=model, reason=REASON)
        self._paused = paused

    def ring(self) -> None:
        """Ring for each job, and shipment to send or to prove: once, and again when rings were
        lost."""
        jobs: dict[Hashable, Callable[[], None]] = {
            job_id: partial(self._broker.ring_job, job_id) for job_id in self._ledger.jobs.waiting()
        }
        unanswered = self._ledger.answers.waiting(self._settings.results.answered)
        for job_id in (*unanswered, *self._ledger.rejections.waiting()):
            jobs["words", job_id] = partial(self._broker.ring_job, job_id)
        shipments: Calls = {
            shipment: partial(self._broker.ring_shipment, *shipment)
            for shipment in (
                *self._ledger.deliveries.waiting(),
                *self._ledger.commitments.waiting(),
            )
        }
        kept = {*jobs, *shipments}
        self._rung = {key: at for key, at in self._rung.items() if key in kept}
        try:
            self._ring_for(ANALYSE, jobs)
            self._ring_for(DELIVER, shipments)
        except BrokerUnavailable as error:
            self._log.warning("broker.unavailable", reason=error.code)

    def _ring_for(self, task: str, calls: Calls) -> None:
        """What was rung for before only where the broker holds fewer rings than there are calls.

        While no worker comes, one ring each is enough: a worker that was away for a night would
        have to hear thousands before it came to a new study.
        """
        now, pause_s = self._clock(), self._settings.sweep.ring_again_s
        due = [key for key in calls if now - self._rung.get(key, -math.inf) >= pause_s]
        again = any(key in self._rung for key in due)
        none_lost = again and self._broker.unheard(task) >= len(calls)
        for key in due:
            if not (none_lost and key in self._rung):
                faults.point("sweep.ringing")
                calls[key]()
                faults.point("sweep.rung")
            self._rung[key] = now


def notes(seen: OpenStudy, study: Study) -> list[str]:
    """Reason codes of what the log should tell of a study that harms nothing.

    LATE: it was closed before. NOT_IMAGE: it holds a series without images. CHARSET, MARKUP,
    CONTROL_CHARS, TEXT_LONG, CLOCK_SKEW: what its headers hold.
    """
    found = study.attributes.get("Notes")
    codes = [str(code) for code in found] if isinstance(found, list) else []
    codes += ["NOT_IMAGE"] if any(s.attributes.get("Rows") is None for s in _read(study)) else []
    return [*codes, *(["LATE"] if seen.generation else [])]


def has_images(study: Study) -> bool:
    """Whether a series is known to hold images."""
    return any(s.attributes.get("Rows") is not None for s in _read(study))


def _read(study: Study) -> list[Series]:
    return [s for s in study.series if s.unreadable < len(s.instances)]


def contradiction(study: Study, contested: bool) -> str | None:
    """Reason code why a study cannot be analysed at all; none: it can.

    ALTERED: a file is not as it was kept, and nobody knows what its header said. UID_CONFLICT: one
    SOP Instance UID has two contents, here or in another study. PATIENT_MIX: two patients under
    one Study Instance UID. UNPARSEABLE: no header can be read.
    """
    if study.attributes.get("Altered"):
        return "ALTERED"
    patients = study.attributes.get("Patients", 0)
    if isinstance(patients, int) and patients > 1:
        return "PATIENT_MIX"
    if contested:
        return "UID_CONFLICT"
    if all(s.unreadable == len(s.instances) for s in study.series):
        return "UNPARSEABLE"
    return None

"""The sweep: closes quiet studies, opens their jobs, rings for what waits, frees dead claims.

It holds no fact: kill it at any moment, start it again, and it finds all that is due in the
ledger. Two sweeps at once do no harm, for every transition is guarded.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from dicom_node.broker import Broker
from dicom_node.catalog import BundleFolder
from dicom_node.domain.errors import BrokerUnavailable, LedgerConflict
from dicom_node.domain.study import Study
from dicom_node.headers import GuardedReader, read_study
from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.observe import log
from dicom_node.receive.completeness import Readiness
from dicom_node.routing import keywords, route
from dicom_node.settings import Settings
from dicom_node.store import InstanceStore
from dicom_node.watch import Watch


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
        self._readiness = Readiness(settings.completeness)
        self._claims = Watch()
        self._reader = GuardedReader()
        self._rung: dict[Hashable, float] = {}
        self._log = log("sweep")

    def close(self) -> None:
        """End the reading process."""
        self._reader.close()

    def once(self) -> None:
        """One pass."""
        self.close_ready_studies()
        self.free_dead_claims()
        self.ring()

    def close_ready_studies(self) -> None:
        """RECEIVING -> ROUTED, NO_MODEL or QUARANTINED for each study that is ready."""
        for seen in self._readiness.ready(self._ledger.studies.receiving(), self._clock()):
            try:
                self._close(seen)
            except LedgerConflict:
                self._log.info("study.late_image", study=seen.study_instance_uid)

    def _close(self, seen: OpenStudy) -> None:
        uid = seen.study_instance_uid
        instances = self._ledger.studies.instances(uid)
        self._reader.next_study()
        study = read_study(uid, instances, self._store, self._reader, keywords(self._bundles))
        if reason := contradiction(study):
            self._ledger.studies.quarantine(seen, study, reason)
            self._log.warning("study.quarantine", study=uid, reason=reason)
            return
        proposals = route(study, self._bundles)
        config = self._settings.results.sha256
        opened = self._ledger.studies.close(seen, study, proposals, config)
        self._log.info("study.closed", study=uid, count=len(opened))

    def free_dead_claims(self) -> None:
        """Release every claim whose heartbeat has stood still for the length of a lease."""
        jobs = self._ledger.jobs.beats()
        shipments = self._ledger.deliveries.beats()
        self._claims.keep_only([*jobs, *shipments])
        for job_id, token in self._dead(jobs):
            if claim := self._ledger.jobs.abandoned(str(job_id), token):
                self._log.warning("job.lease_lost", job=job_id, attempt=claim.attempt)
                self._ledger.jobs.release(claim, "LEASE_LOST")
        for _, token in self._dead(shipments):
            self._ledger.deliveries.give_back(token)

    def _dead(self, beats: Mapping[Any, tuple[str, int]]) -> list[tuple[Hashable, str]]:
        now = self._clock()
        lease_s = self._settings.sweep.lease_s
        return [
            (key, beat[0])
            for key, beat in beats.items()
            if self._claims.still_s(key, beat, now) >= lease_s
        ]

    def ring(self) -> None:
        """Ring for each waiting job and shipment: once, and again when nobody came."""
        calls: dict[Hashable, Callable[[], None]] = {
            job_id: partial(self._broker.ring_job, job_id) for job_id in self._ledger.jobs.waiting()
        }
        for shipment in self._ledger.deliveries.waiting():
            calls[shipment] = partial(self._broker.ring_shipment, *shipment)
        self._rung = {key: at for key, at in self._rung.items() if key in calls}
        try:
            for key, call in calls.items():
                self._ring_one(key, call)
        except BrokerUnavailable as error:
            self._log.warning("broker.unavailable", reason=error.code)

    def _ring_one(self, key: Hashable, call: Callable[[], None]) -> None:
        now = self._clock()
        last = self._rung.get(key)
        if last is None or now - last >= self._settings.sweep.ring_again_s:
            call()
            self._rung[key] = now


def contradiction(study: Study) -> str | None:
    """Reason code why a study cannot be analysed at all; none: it can.

    UID_CONFLICT: one SOP Instance UID with two contents. PATIENT_MIX: two patients under one
    Study Instance UID. UNPARSEABLE: no header can be read.
    """
    uids = [i.sop_instance_uid for i in study.instances]
    if len(set(uids)) < len(uids):
        return "UID_CONFLICT"
    patients = study.attributes.get("Patients", 0)
    if isinstance(patients, int) and patients > 1:
        return "PATIENT_MIX"
    if all(s.unreadable == len(s.instances) for s in study.series):
        return "UNPARSEABLE"
    return None

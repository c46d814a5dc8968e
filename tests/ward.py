"""A ledger with studies in it, each state reached by the ledger's own functions, and its pages."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fastapi.testclient import TestClient
from httpx import Response

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.job import Claim, Proposal, SelectedSeries, SeriesChoice
from dicom_node.domain.study import AttributeValue, Instance, Series, Study
from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Destination
from dicom_node.settings.web import Web
from dicom_node.store import InstanceStore
from dicom_node.web.app import create_app
from dicom_node.web.site import TOKEN

CT, SEG, SC, PDF, SR = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "66.4", "7", "104.1", "88.34")
)
MODEL = "phantom-lesion"
MADE = (
    (ResultKind.SEGMENTATION, SEG, "AI segmentation"),
    (ResultKind.SECONDARY_CAPTURE, SC, "AI overlays"),
    (ResultKind.ENCAPSULATED_PDF, PDF, "AI report"),
    (ResultKind.STRUCTURED_REPORT, SR, "AI findings"),
)
REPORT = (
    b"<!doctype html><meta charset=utf-8><title>Report</title>"
    b"<style>body{font:16px sans-serif;margin:3rem}</style><h1>AI report</h1>"
    b"<p>AI, not for diagnostic use.</p><script>document.title='owned'</script>"
)
POSITIVE: Mapping[str, Any] = {
    "line": "Lesion present, probability 93%",
    "findings": [
        {"label": "Lesion", "presence": "PRESENT", "probability": 0.93, "trust": "CAUTION"}
    ],
}
NEGATIVE: Mapping[str, Any] = {
    "line": "Lesion absent, highest probability 4%",
    "findings": [
        {"label": "Lesion", "presence": "ABSENT", "probability": 0.04, "trust": "NOT_MEASURED"}
    ],
}


@dataclass
class Ward:
    """Makes studies, and takes each as far as a test wants."""

    ledger: Ledger
    store: InstanceStore
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def open(cls, folder: Path) -> Self:
        """An empty one: a new SQLite ledger and store in a folder."""
        ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
        return cls(ledger, InstanceStore(folder / "store"))

    def receive(self, name: str, *, images: int = 3, **attributes: Any) -> str:
        """A study of one CT series that still receives; returns its UID."""
        self.count += 1
        uid = f"1.2.3.{self.count}"
        self.attributes[uid] = {
            "PatientName": name,
            "PatientID": f"P-{self.count:04}",
            "AccessionNumber": f"A-{self.count:04}",
            "StudyDate": "20260131",
            "StudyDescription": "CT abdomen",
            "ModalitiesInStudy": ["CT"],
            **attributes,
        }
        self.add_images(uid, images)
        return uid

    def add_images(self, uid: str, images: int, first: int = 1) -> None:
        """Record instances; a closed study receives again."""
        for number in range(first, first + images):
            self.ledger.studies.record(_instance(uid, number), "MODALITY")

    def close(
        self, uid: str, *models: str, reason: str = "fits", decline: bool = False
    ) -> list[str]:
        """Close the study and open a job for each model; without models, none wants it."""
        choices = [(name, True) for name in models] or [(MODEL, False)]
        proposals = [self._propose(uid, name, taken, reason) for name, taken in choices]
        return self.ledger.studies.close(
            self._seen(uid), self._study(uid), proposals, "c" * 64, decline=decline
        )

    def quarantine(self, uid: str, reason: str) -> None:
        """Close the study as one that contradicts itself."""
        self.ledger.studies.quarantine(self._seen(uid), self._study(uid), reason)

    def claim(self, job_id: str) -> Claim:
        """Start a job."""
        claim = self.ledger.jobs.claim(job_id)
        if claim is None:
            raise LookupError(f"job {job_id} cannot be claimed")
        return claim

    def complete(
        self, job_id: str, summary: Mapping[str, Any], destinations: Sequence[str] = ("pacs",)
    ) -> None:
        """Finish a job with one object of each kind and a report."""
        report = self.store.keep([REPORT])
        results = [_result(job_id, number) for number in range(len(MADE))]
        self.ledger.jobs.complete(
            self.claim(job_id),
            results,
            {name: tuple(ResultKind) for name in destinations},
            summary=summary,
            report_sha256=report.sha256,
        )

    def crash(self, job_id: str, times: int, reason: str = "LEASE_LOST") -> None:
        """Lose the claim on a job; the third loss quarantines it."""
        for _ in range(times):
            self.ledger.jobs.release(self.claim(job_id), reason)

    def send(self, job_id: str, destination: str, *reasons: str) -> None:
        """Answer one object after the other: empty is sent, ``+CODE`` sent with a warning,
        ``!CODE`` held, any other postponed.

        Objects beyond the reasons stay claimed.
        """
        shipment = self.ledger.deliveries.claim(job_id, destination)
        deliveries = self.ledger.deliveries
        for item, why in zip(shipment.deliveries if shipment else (), reasons, strict=False):
            if not shipment:
                break
            if not why or why.startswith("+"):
                deliveries.sent(shipment, item, why[1:])
            elif why.startswith("!"):
                deliveries.hold(shipment, item, why[1:])
            else:
                deliveries.postpone(shipment, item, why)

    def _seen(self, uid: str) -> OpenStudy:
        return next(s for s in self.ledger.studies.receiving() if s.study_instance_uid == uid)

    def _study(self, uid: str) -> Study:
        instances = tuple(self.ledger.studies.instances(uid))
        attributes: dict[str, AttributeValue] = {
            "Modality": "CT",
            "SeriesNumber": 2,
            "SeriesDescription": "Portal venous 5.0",
            "Orientation": "AXIAL",
        }
        series = Series(f"{uid}.1", instances, attributes)
        return Study(uid, (series,), self.attributes[uid])

    def _propose(self, uid: str, model: str, taken: bool, reason: str) -> Proposal:
        instances = self.ledger.studies.instances(uid)
        pairs = tuple((i.sop_instance_uid, i.sha256) for i in instances)
        inputs = (SelectedSeries(f"{uid}.1", pairs),) if taken else ()
        choice = SeriesChoice(f"{uid}.1", "Portal venous 5.0", "CT", len(pairs), taken, reason)
        return Proposal(model, "1.0.0", _hash(model), inputs, (choice,))


class Visitor:
    """A browser without a screen: keeps cookies, and sends forms as the pages would."""

    def __init__(self, ward: Ward, web: Web | None = None, *, crash: bool = True) -> None:
        pacs = Destination(name="pacs", host="127.0.0.1", port=104, ae_title="PACS")
        settings = Settings(web=web or Web(), destinations=(pacs,))
        app = create_app(settings, ward.ledger, ward.store)
        self.client = TestClient(
            app,
            base_url="http://localhost",
            raise_server_exceptions=crash,
            follow_redirects=False,
        )

    def get(self, path: str = "/", **headers: str) -> Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str = "/", **fields: str) -> Response:
        """A form of this page, sent from this page."""
        if TOKEN not in self.client.cookies:
            self.get()
        form = {"token": self.client.cookies[TOKEN], **fields}
        return self.client.post(path, data=form, headers={"Origin": "http://localhost"})


def every_state(ward: Ward) -> dict[str, str]:
    """One study in each state that the pages tell apart; its UID by the name of the state."""
    fill: dict[str, Callable[[Ward], str]] = {
        "sent": _sent,
        "negative": _negative,
        "held": _held,
        "postponed": _postponed,
        "failed": _failed,
        "unusable images": _unusable_images,
        "quarantined job": _quarantined_job,
        "quarantined study": _quarantined_study,
        "no model": _no_model,
        "late image": _late_image,
        "two models": _two_models,
        "analysing": _analysing,
        "waiting": _waiting,
        "receiving": lambda ward: ward.receive("Still^Arriving"),
    }
    return {state: make(ward) for state, make in fill.items()}


def _finished(ward: Ward, name: str, summary: Mapping[str, Any], *reasons: str) -> tuple[str, str]:
    uid = ward.receive(name)
    (job_id,) = ward.close(uid, MODEL)
    ward.complete(job_id, summary)
    if reasons:
        ward.send(job_id, "pacs", *reasons)
    return uid, job_id


def _sent(ward: Ward) -> str:
    return _finished(ward, "Positive^Petra", POSITIVE, "", "", "", "")[0]


def _negative(ward: Ward) -> str:
    return _finished(ward, "Negative^Nora", NEGATIVE, "", "", "+STATUS_B000", "")[0]


def _held(ward: Ward) -> str:
    return _finished(ward, "Held^Hanna", POSITIVE, "!NO_CONTEXT", "", "!STATUS_A900", "")[0]


def _postponed(ward: Ward) -> str:
    reasons = ["PEER_UNREACHABLE"] * len(MADE)
    return _finished(ward, "Postponed^Paul", NEGATIVE, *reasons)[0]


def _failed(ward: Ward) -> str:
    uid = ward.receive("Failed^Fatima")
    (job_id,) = ward.close(uid, MODEL)
    ward.ledger.jobs.fail(ward.claim(job_id), "BUNDLE_GONE")
    return uid


def _unusable_images(ward: Ward) -> str:
    uid = ward.receive("Tilted^Tom")
    (job_id,) = ward.close(uid, MODEL)
    ward.ledger.jobs.quarantine(ward.claim(job_id), "GEOMETRY")
    return uid


def _quarantined_job(ward: Ward) -> str:
    uid = ward.receive("Crashed^Carl")
    (job_id,) = ward.close(uid, MODEL)
    ward.crash(job_id, times=3)
    return uid


def _quarantined_study(ward: Ward) -> str:
    uid = ward.receive("Mixed^Mia")
    ward.quarantine(uid, "PATIENT_MIX")
    return uid


def _no_model(ward: Ward) -> str:
    uid = ward.receive("Unread^Uma", ModalitiesInStudy=["US"])
    ward.close(uid, reason="modality US, not CT")
    return uid


def _late_image(ward: Ward) -> str:
    uid, _ = _finished(ward, "Late^Lars", POSITIVE, "", "", "", "")
    ward.add_images(uid, 1, first=90)
    return uid


def _two_models(ward: Ward) -> str:
    uid = ward.receive("Double^Dora")
    first, second = ward.close(uid, MODEL, "liver-volume")
    ward.complete(first, NEGATIVE)
    ward.crash(second, times=1, reason="DEVICE_MEMORY")
    return uid


def _analysing(ward: Ward) -> str:
    uid = ward.receive("Running^Rita")
    (job_id,) = ward.close(uid, MODEL)
    ward.claim(job_id)
    return uid


def _waiting(ward: Ward) -> str:
    uid = ward.receive("Waiting^Walter")
    ward.close(uid, MODEL)
    return uid


def _instance(uid: str, number: int) -> Instance:
    sop = f"{uid}.1.{number}"
    return Instance(uid, f"{uid}.1", sop, CT, "1.2.840.10008.1.2.1", _hash(sop), 524_288)


def _result(job_id: str, number: int) -> StoredResult:
    kind, sop_class, description = MADE[number]
    sop = f"2.25.{int(_hash(job_id)[:20], 16)}{number}"
    series = f"{sop}.1"
    return StoredResult(
        sop, sop_class, series, description, kind, number, _hash(sop), 40_000 * (number + 1)
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

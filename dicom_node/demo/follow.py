"""Follows one study through the node: progress while it runs, and what came back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dicom_node.domain.delivery import DEFAULT_KINDS, NEVER_SENT, DeliveryState, ResultKind
from dicom_node.domain.errors import PeerUnreachable
from dicom_node.domain.study import StudyState
from dicom_node.ledger import Ledger
from dicom_node.ledger.pages import StudyPage
from dicom_node.send.cstore import Answer, Peer, send
from dicom_node.settings.node import Settings
from dicom_node.supervise import Supervisor
from dicom_node.testing.pacs import FakePacs

LOOK_S = 0.2
LONGEST_TRIP_S = 900
RECORDED_S = 10
"""An acknowledged image has its row in the ledger within a moment; files that are none of a study
that the node keeps, such as its own results, never have."""
UNFINISHED = {"READY", "ANALYSING"}
UNDERWAY = {DeliveryState.READY, DeliveryState.SENDING}


NOT_OF_THE_SAMPLE = {ResultKind.FLAT_REPORT, ResultKind.DERIVED_IMAGE}
"""The archive takes Comprehensive 3D SR, and the model of the sample makes no images."""


@dataclass(frozen=True, slots=True)
class Returned:
    """One object that the archive holds."""

    kind: ResultKind
    series_description: str
    sop_class: str
    size_bytes: int
    after_s: float
    path: Path


@dataclass
class Trip:
    """How a study's trip ended."""

    returned: list[Returned] = field(default_factory=list)
    promised: dict[str, str] = field(default_factory=dict)
    """Kind by SOP Instance UID, of every result that the archive is owed."""
    arrived: set[str] = field(default_factory=set)
    summaries: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    """SHA-256 of the HTML reports."""
    report_path: str = "/"
    failures: list[str] = field(default_factory=list)

    def missing(self, *, sample: bool) -> list[str]:
        """What was promised and is not there; the sample promises one of each kind it has."""
        lost = [kind for uid, kind in self.promised.items() if uid not in self.arrived]
        kinds = set(DEFAULT_KINDS) - NOT_OF_THE_SAMPLE if sample else set()
        lost += sorted(kinds - set(self.promised.values()))
        if not self.promised:
            lost.append("any result")
        return lost + self.failures


def follow(
    settings: Settings,
    ledger: Ledger,
    archive: FakePacs,
    supervisor: Supervisor,
    files: Sequence[Path],
    console: Console,
) -> Trip:
    """Send the files to the node and wait, with progress, until all of it has ended."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        _send(settings, files, progress)
        last_image = time.monotonic()
        waiting = progress.add_task("waiting for the quiet period", total=None)
        deadline = last_image + LONGEST_TRIP_S
        while time.monotonic() < deadline:
            supervisor.check()
            studies = _studies(ledger)
            words, done, total = _stage(studies)
            progress.update(waiting, description=words, completed=done, total=total)
            recorded = studies or time.monotonic() > last_image + RECORDED_S
            if words == "done" and recorded:
                break
            time.sleep(LOOK_S)
    return _trip(studies, archive, last_image)


def _send(settings: Settings, files: Sequence[Path], progress: Progress) -> None:
    peer = Peer(settings.listen.host, settings.listen.port, settings.listen.ae_title, "DEMO")
    task = progress.add_task("sending images to the node", total=len(files))
    refused = 0
    for outcome in send(peer, files):
        refused += outcome.answer is not Answer.SENT
        progress.advance(task)
    if refused:
        progress.console.print(f"{refused} of {len(files)} files were refused by the node")
    if refused == len(files):
        raise PeerUnreachable(
            "the node refused every file; `dicom-node doctor` lists what it decodes"
        )


def _studies(ledger: Ledger) -> list[StudyPage]:
    uids = [entry.study["study_instance_uid"] for entry in ledger.pages.worklist()]
    return [page for uid in uids if (page := ledger.pages.study(uid))]


def _stage(studies: Sequence[StudyPage]) -> tuple[str, int | None, int | None]:
    if any(s.study["state"] == StudyState.RECEIVING for s in studies):
        return "waiting for the quiet period", None, None
    jobs = [job for s in studies for job in s.jobs]
    if any(job["state"] in UNFINISHED for job in jobs):
        return "analysing", None, None
    deliveries = [d for s in studies for d in s.deliveries]
    arrived = sum(d["state"] not in UNDERWAY for d in deliveries)
    if arrived < len(deliveries):
        return "results on their way to the archive", arrived, len(deliveries)
    return "done", 1, 1


def _trip(studies: Sequence[StudyPage], archive: FakePacs, last_image: float) -> Trip:
    trip = Trip()
    spared = {
        d["sop_instance_uid"] for s in studies for d in s.deliveries if d["state"] in NEVER_SENT
    }
    results = (row for s in studies for row in s.results)
    rows = {r["sop_instance_uid"]: r for r in results if r["sop_instance_uid"] not in spared}
    trip.promised = {uid: row["kind"] for uid, row in rows.items()}
    for item in archive.received:
        row = rows.get(item.sop_instance_uid)
        if row is None or not _readable(item.path):
            continue
        trip.arrived.add(item.sop_instance_uid)
        trip.returned.append(
            Returned(
                ResultKind(row["kind"]),
                row["series_description"],
                item.sop_class,
                item.size_bytes,
                item.at - last_image,
                item.path,
            )
        )
    for page in studies:
        _add_jobs(trip, page)
    return trip


def _add_jobs(trip: Trip, page: StudyPage) -> None:
    if page.study["state"] != StudyState.ROUTED:
        trip.failures.append(f"analysis: {page.study['reason']}")
        trip.failures += [
            f"  {c['series_description'] or 'series'}: {c['reason']}" for c in page.selection
        ]
    for job in page.jobs:
        if job["state"] != "ANALYSED":
            trip.failures.append(f"analysis by {job['model_name']}: {job['state']} {job['reason']}")
            continue
        trip.summaries.append(f"{job['model_name']}: {job['summary'].get('line', '')}")
        trip.summaries += map(_verdict, job["summary"].get("findings", ()))
        trip.reports.append(job["report_sha256"])
        trip.report_path = f"/jobs/{job['id']}/report"


def _readable(path: Path) -> bool:
    data = dcmread(path)
    return bool(data.get("SOPInstanceUID")) and ("PixelData" in data or len(data) > 0)


def _verdict(finding: Mapping[str, Any]) -> str:
    """How far the heat map of a finding can be believed, and why."""
    trust = str(finding["trust"] or "none made").replace("_", " ").lower()
    return " ".join([f"  heat map of {finding['label']}: {trust}.", *finding["reasons"]])

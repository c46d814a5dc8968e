"""A destination gets one form of the report: the richest SR whose SOP class it accepts."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import analyses
import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pydicom.uid import Comprehensive3DSRStorage as Spatial
from pydicom.uid import ComprehensiveSRStorage as Flat
from pydicom.uid import EnhancedSRStorage as Enhanced

from dicom_node.domain.delivery import REPORT_FORMS, ResultKind, StoredResult
from dicom_node.domain.errors import PeerUnreachable
from dicom_node.domain.job import Proposal, SelectedSeries
from dicom_node.domain.study import Instance, Study
from dicom_node.ledger import Ledger
from dicom_node.redis_server import free_port
from dicom_node.send.cstore import Peer, echo
from dicom_node.send.shipping import MAX_REFUSALS, ship
from dicom_node.settings.results import Destination
from dicom_node.store import InstanceStore
from dicom_node.testing.pacs import FakePacs
from reports.case import Case
from reports.part10 import dataset_bytes
from reports.structured_report import StructuredReportWriter
from reports.writer import write_results

VERIFICATION = "1.2.840.10008.1.1"
SR, FLAT, ENHANCED = REPORT_FORMS
SPARED = ("NOT_NEEDED", "OTHER_FORM")
DEADLINE_S = 30


@contextmanager
def storescp(tool: Callable[[str], str], folder: Path, classes: Sequence[str]) -> Iterator[int]:
    """DCMTK's archive, which accepts the presentation contexts of these classes alone."""
    folder.mkdir()
    lines = ["[[TransferSyntaxes]]", "[Plain]", f"TransferSyntax1 = {ExplicitVRLittleEndian}"]
    lines += ["[[PresentationContexts]]", "[Some]"]
    for number, uid in enumerate([VERIFICATION, *classes], 1):
        lines.append(f"PresentationContext{number} = {uid}\\Plain")
    profile = folder / "storescp.cfg"
    lines += ["[[Profiles]]", "[Default]", "PresentationContexts = Some"]
    profile.write_text("\n".join(lines))
    port = free_port()
    command = [tool("storescp"), "-xf", str(profile), "Default", "-od", str(folder), str(port)]
    with subprocess.Popen(command) as process:
        try:
            _await(port)
            yield port
        finally:
            process.terminate()


def _await(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return echo(Peer("127.0.0.1", port, "ARCHIVE", "NODE"))
        except PeerUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def classes_in(folder: Path) -> list[UID]:
    files = (path for path in folder.iterdir() if path.suffix != ".cfg")
    return [dcmread(path, stop_before_pixels=True).SOPClassUID for path in files]


class Outbox:
    """A job that owes all forms of its report to destinations."""

    def __init__(self, folder: Path, kinds: Sequence[ResultKind] = REPORT_FORMS) -> None:
        folder.mkdir(exist_ok=True)
        self.store = InstanceStore(folder / "store")
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
        self.job_id = self._job()
        claim = self.ledger.jobs.claim(self.job_id)
        forms = tuple(map(StructuredReportWriter, REPORT_FORMS))
        results = [self._keep(r) for r in write_results(Case(analyses.analysis()), forms)]
        wanted = {"pacs": tuple(kinds)}
        self.ledger.jobs.complete(claim, results, wanted, summary={}, report_sha256="")

    def _job(self) -> str:
        studies = self.ledger.studies
        studies.record(Instance("1.2", "1.3", "1.4", "1.5", "1.6", "a" * 64, 1), "A")
        inputs = (SelectedSeries("1.3", (("1.4", "a" * 64),)),)
        proposal = Proposal("m", "1.0.0", "f" * 64, inputs, ())
        (opened,) = studies.close(studies.receiving()[0], Study("1.2", ()), [proposal], "c" * 64)
        return opened

    def _keep(self, made: Any) -> StoredResult:
        kept, data = self.store.keep([dataset_bytes(made.dataset)]), made.dataset
        return StoredResult(
            data.SOPInstanceUID, data.SOPClassUID, data.SeriesInstanceUID, "AI",
            made.kind, made.kind.rank, kept.sha256, kept.size_bytes,
        )  # fmt: skip

    def ship_all(self, port: int) -> None:
        """Until nothing is due."""
        destination = Destination(name="pacs", host="127.0.0.1", port=port, ae_title="ARCHIVE")
        while shipment := self.ledger.deliveries.claim(self.job_id, "pacs"):
            ship(shipment, destination, "NODE", self.ledger, self.store)

    def states(self) -> dict[ResultKind, tuple[str, str]]:
        page = self.ledger.pages.study("1.2")
        kinds = {row["sop_instance_uid"]: ResultKind(row["kind"]) for row in page.results}
        return {
            kinds[row["sop_instance_uid"]]: (row["state"], row["reason"]) for row in page.deliveries
        }

    def send_again(self, *wanted: ResultKind) -> None:
        """A person's word, for all that may be sent again."""
        page = self.ledger.pages.study("1.2")
        kinds = {row["sop_instance_uid"]: row["kind"] for row in page.results}
        for row in page.deliveries:
            if kinds[row["sop_instance_uid"]] in wanted:
                self.ledger.deliveries.retry(row["id"])


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("accepted", "arrived", "sent"),
    [
        ([Spatial, Flat, Enhanced], [Spatial], SR),
        ([Spatial], [Spatial], SR),
        ([Flat, Enhanced], [Flat], FLAT),
        ([Enhanced], [Enhanced], ENHANCED),
        ([SecondaryCaptureImageStorage], [], None),
    ],
    ids=["takes all", "takes 3D alone", "refuses 3D", "takes Enhanced SR alone", "refuses all"],
)  # fmt: skip
def test_an_archive_gets_the_form_that_it_takes(outbox, tool, tmp_path, accepted, arrived, sent):
    with storescp(tool, tmp_path / "archive", accepted) as port:
        outbox.ship_all(port)
    assert classes_in(tmp_path / "archive") == arrived
    others = ("HELD", "NO_CONTEXT") if sent is None else SPARED
    assert outbox.states() == {f: ("SENT", "") if f is sent else others for f in REPORT_FORMS}


def test_the_other_form_waits_while_the_first_may_still_go(outbox):
    outbox.ship_all(free_port())
    assert outbox.states() == {
        SR: ("READY", "PEER_UNREACHABLE"),
        FLAT: SPARED,
        ENHANCED: SPARED,
    }


def test_a_status_that_refuses_for_good_calls_for_the_other_form_too(outbox, tmp_path):
    def answer(event: Any) -> int:
        return 0x0122 if event.request.AffectedSOPClassUID == Spatial else 0

    with FakePacs(tmp_path / "pacs", answer=answer) as pacs:
        for _ in range(MAX_REFUSALS):
            outbox.ship_all(pacs.port)
            _pass_time(outbox)
    assert [received.sop_class_uid for received in pacs.received] == [Flat]
    assert outbox.states() == {SR: SPARED, FLAT: ("SENT", ""), ENHANCED: SPARED}


def _pass_time(outbox: Outbox) -> None:
    with outbox.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE delivery SET next_at = 0")


@pytest.mark.dcmtk
@pytest.mark.parametrize("again", [(SR,), (ENHANCED, FLAT, SR)])
def test_an_archive_that_was_mended_gets_the_first_form_alone(outbox, tool, tmp_path, again):
    with storescp(tool, tmp_path / "before", [SecondaryCaptureImageStorage]) as port:
        outbox.ship_all(port)
    outbox.send_again(*again)
    with storescp(tool, tmp_path / "after", [Spatial, Flat, Enhanced]) as port:
        outbox.ship_all(port)
        outbox.send_again(*REPORT_FORMS)
        outbox.ship_all(port)
    assert classes_in(tmp_path / "after") == [Spatial]
    assert outbox.states() == {SR: ("SENT", ""), FLAT: SPARED, ENHANCED: SPARED}


def test_a_crash_after_the_refusal_sends_the_other_form_once(outbox, tmp_path):
    shipment = outbox.ledger.deliveries.claim(outbox.job_id, "pacs")
    outbox.ledger.deliveries.hold(shipment, shipment.deliveries[0], "NO_CONTEXT")
    lost = outbox.ledger.deliveries.claim(outbox.job_id, "pacs")
    outbox.ledger.deliveries.give_back(lost.token)
    with FakePacs(tmp_path / "pacs") as pacs:
        outbox.ship_all(pacs.port)
        outbox.ship_all(pacs.port)
    assert [received.sop_class_uid for received in pacs.received] == [Flat]


@pytest.mark.dcmtk
def test_a_form_that_a_site_does_not_want_is_passed_over(outbox, tool, tmp_path):
    outbox.ledger.close()
    wanted = Outbox(tmp_path / "other", [SR, ENHANCED])
    with storescp(tool, tmp_path / "archive", [Flat, Enhanced]) as port:
        wanted.ship_all(port)
    wanted.ledger.close()
    assert classes_in(tmp_path / "archive") == [Enhanced]


def test_a_site_may_ask_for_the_flat_form_alone(tmp_path):
    outbox = Outbox(tmp_path, [FLAT])
    with FakePacs(tmp_path / "pacs") as pacs:
        outbox.ship_all(pacs.port)
    outbox.ledger.close()
    assert [received.sop_class_uid for received in pacs.received] == [Flat]

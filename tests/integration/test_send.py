"""Results reach a destination once, in order, or wait in the ledger with the reason."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from typer.testing import CliRunner

from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.errors import ConfigurationError, PeerUnreachable
from dicom_node.domain.job import Proposal, SelectedSeries
from dicom_node.domain.study import Instance, Study
from dicom_node.ledger import Ledger
from dicom_node.redis_server import free_port
from dicom_node.send.command import parse_address
from dicom_node.send.cstore import Answer, Outgoing, Peer, answer_of, echo, send
from dicom_node.send.shipping import ship
from dicom_node.settings.results import Destination
from dicom_node.store import InstanceStore
from dicom_node.testing.pacs import FakePacs
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return save_study(make_study(phantom(1, slices=3, size=32)), tmp_path_factory.mktemp("study"))


class Outbox:
    """A ledger and a store with one analysed job that owes three objects to one destination."""

    def __init__(self, folder, files, port):
        self.destination = Destination(name="pacs", host="127.0.0.1", port=port, ae_title="ARCHIVE")
        self.store = InstanceStore(folder / "store")
        self.ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
        self.job_id = self._job()
        claim = self.ledger.jobs.claim(self.job_id)
        results = [self._result(n, f) for n, f in enumerate(files)]
        kinds = {"pacs": tuple(ResultKind)}
        self.ledger.jobs.complete(claim, results, kinds, summary={}, report_sha256="")

    def _job(self):
        studies = self.ledger.studies
        studies.record(Instance("1.2", "1.3", "1.4", "1.5", "1.6", "a" * 64, 1), "A")
        inputs = (SelectedSeries("1.3", (("1.4", "a" * 64),)),)
        proposal = Proposal("m", "1.0.0", "f" * 64, inputs, ())
        (opened,) = studies.close(studies.receiving()[0], Study("1.2", ()), [proposal], "c" * 64)
        return opened

    def _result(self, number, file):
        kept = self.store.keep([file.read_bytes()])
        kind = list(ResultKind)[number]
        uid = f"2.25.{number + 1}"
        return StoredResult(uid, "1.2", "1.3", "AI", kind, number, kept.sha256, kept.size_bytes)

    def ship(self):
        shipment = self.ledger.deliveries.claim(self.job_id, "pacs")
        if shipment:
            ship(shipment, self.destination, "NODE", self.ledger, self.store)
        return shipment

    def states(self):
        rows = self.ledger.pages.study("1.2").deliveries
        order = {
            r["sop_instance_uid"]: r["position"] for r in self.ledger.pages.study("1.2").results
        }
        rows = sorted(rows, key=lambda r: order[r["sop_instance_uid"]])
        return [(r["state"], r["reason"]) for r in rows]

    def due_now(self):
        for row in self.ledger.pages.study("1.2").deliveries:
            if row["state"] == "READY":
                with self.ledger.database.write() as connection:
                    connection.exec_driver_sql("UPDATE delivery SET next_at = 0")


@pytest.fixture
def outbox(tmp_path, files):
    made = Outbox(tmp_path, files, free_port())
    yield made
    made.ledger.close()


def archive(outbox, tmp_path, answer=lambda _: 0):
    pacs = FakePacs(tmp_path / "pacs", answer=answer)
    pacs.port = outbox.destination.port
    return pacs


def test_everything_arrives_in_order_and_unchanged(outbox, tmp_path, files):
    with archive(outbox, tmp_path) as pacs:
        outbox.ship()
        assert outbox.ship() is None
    assert [r.path.read_bytes()[-2000:] for r in pacs.received] == [
        f.read_bytes()[-2000:] for f in files
    ]
    assert outbox.states() == [("SENT", "")] * 3


def test_no_packet_waits_for_an_acknowledgement(outbox, tmp_path):
    """Nagle's algorithm and a delayed acknowledgement cost 40 ms an object."""
    seen = []

    def look(_):
        ours = [t for t in threading.enumerate() if isinstance(t, Association) and t.is_requestor]
        sockets = [association.dul.socket.socket for association in ours]
        seen.extend(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in sockets)
        return 0

    with archive(outbox, tmp_path, look):
        outbox.ship()
    assert len(seen) == 3
    assert all(seen)


def test_without_the_pacs_everything_waits(outbox):
    outbox.ship()
    assert outbox.states() == [("READY", "PEER_UNREACHABLE")] * 3


def test_out_of_resources_makes_the_rest_wait(outbox, tmp_path):
    with archive(outbox, tmp_path, lambda _: 0xA700):
        outbox.ship()
    assert outbox.states() == [("READY", "STATUS_A700")] * 3


def test_a_no_is_asked_three_times_and_then_held_while_the_rest_goes(outbox, tmp_path):
    asked = []

    def answer(event):
        first = not asked or event.request.AffectedSOPInstanceUID == asked[0]
        if first:
            asked.append(event.request.AffectedSOPInstanceUID)
        return 0xA900 if first else 0

    with archive(outbox, tmp_path, answer):
        outbox.ship()
        assert outbox.states() == [("READY", "STATUS_A900"), *[("READY", "BEHIND")] * 2]
        for _ in range(2):
            outbox.due_now()
            outbox.ship()
    assert outbox.states() == [("HELD", "STATUS_A900"), ("SENT", ""), ("SENT", "")]
    assert len(asked) == 3


def test_tries_that_found_no_peer_and_refusals_of_another_object_are_no_refusals(outbox, tmp_path):
    for _ in range(4):
        outbox.ship()
        outbox.due_now()
    asked = []

    def answer(event):
        asked.append(event.request.AffectedSOPInstanceUID)
        return 0xA900

    with archive(outbox, tmp_path, answer):
        for _ in range(5):
            outbox.ship()
            outbox.due_now()
    assert [asked.count(uid) for uid in dict.fromkeys(asked)] == [3, 3, 1]
    assert outbox.states() == [*[("HELD", "STATUS_A900")] * 2, ("READY", "STATUS_A900")]


@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
def test_what_is_not_stored_as_it_was_made_is_held_and_the_rest_goes(outbox, tmp_path, gone):
    (first, *_) = outbox.ledger.pages.study("1.2").results
    path = outbox.store.path(first["sha256"])
    if gone:
        path.unlink()
    else:
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with archive(outbox, tmp_path) as pacs:
        outbox.ship()
    assert outbox.states() == [("HELD", "ALTERED"), ("SENT", ""), ("SENT", "")]
    assert len(pacs.received) == 2


@pytest.mark.parametrize("status", [0xB001, 0x0111])
def test_what_the_archive_has_is_a_delivery_with_its_reason(outbox, tmp_path, status):
    """Else another form of the report would go, and the archive had two of them."""
    with archive(outbox, tmp_path, lambda _: status):
        outbox.ship()
    assert outbox.states() == [("SENT", f"STATUS_{status:04X}")] * 3


def test_a_peer_that_is_not_there_is_named():
    with pytest.raises(PeerUnreachable, match=r"PACS at 127\.0\.0\.1"):
        echo(Peer("127.0.0.1", free_port(), "PACS", "NODE"))


def test_a_name_without_an_address_is_named():
    with pytest.raises(PeerUnreachable, match=r"pacs\.invalid: no address"):
        echo(Peer("pacs.invalid", 104, "PACS", "AI_NODE"))


def test_a_wrong_ae_title_is_explained(tmp_path):
    with FakePacs(tmp_path) as pacs, pytest.raises(PeerUnreachable, match="check both AE titles"):
        echo(Peer(pacs.host, pacs.port, "OTHER", "NODE"))


def test_a_class_that_the_peer_does_not_take_is_said(tmp_path, files):
    from dicom_node.receive.listener import Listener
    from dicom_node.settings.listen import Listen

    listen = Listen(port=free_port())
    store = InstanceStore(tmp_path / "store")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    listener = Listener(listen, store.root, ledger)
    listener.start()
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    data = dcmread(files[0])
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = tmp_path / "deflated.dcm"
    data.save_as(deflated)
    try:
        peer = Peer("127.0.0.1", listen.port, listen.ae_title, "A")
        answers = [o.answer for o in send(peer, [deflated, files[1]])]
        alone = [o.answer for o in send(peer, [deflated])]
    finally:
        listener.stop()
        ledger.close()
    assert answers == [Answer.NO_CONTEXT, Answer.SENT]
    assert alone == [Answer.NO_CONTEXT]


def test_a_peer_of_the_default_transfer_syntax_alone_gets_it(files):
    """PS3.5 section 10.1: every storage SCP may count on it."""
    received = []

    def keep(event):
        received.append(event.dataset)
        return 0

    entity = AE("OLD")
    entity.add_supported_context(CTImageStorage, ImplicitVRLittleEndian)
    port = free_port()
    handlers = [(evt.EVT_C_STORE, keep)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        answers = [o.answer for o in send(Peer("127.0.0.1", port, "OLD", "A"), files[:2])]
    finally:
        server.shutdown()
    assert answers == [Answer.SENT] * 2
    for data, file in zip(received, files, strict=False):
        sent = dcmread(file)
        assert data.SOPInstanceUID == sent.SOPInstanceUID
        assert data.PixelData == sent.PixelData


@contextmanager
def slow_line(port, bytes_per_s):
    """A port that leads to another, slowly."""

    def pump(source, target, pause_s):
        with suppress(OSError):
            while chunk := source.recv(64 << 10):
                target.sendall(chunk)
                time.sleep(pause_s * len(chunk))
        target.close()

    with socket.create_server(("127.0.0.1", 0)) as server:

        def lead_on():
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(far, near, 0), daemon=True).start()
            pump(near, far, 1 / bytes_per_s)

        threading.Thread(target=lead_on, daemon=True).start()
        yield server.getsockname()[1]


def test_a_large_object_may_take_longer_than_an_answer(tmp_path, files):
    data = dcmread(files[0])
    data.Rows = data.Columns = 3600
    data.PixelData = bytes(2 * 3600**2)
    large = tmp_path / "large.dcm"
    data.save_as(large)
    with FakePacs(tmp_path / "pacs") as pacs, slow_line(pacs.port, 4 << 20) as port:
        contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
        peer = Peer("127.0.0.1", port, pacs.ae_title, "A")
        with Outgoing(peer, contexts, dimse_timeout_s=3) as association:
            status = association.send_c_store(large)
    assert status.Status == 0
    assert pacs.received[0].size_bytes > 25_000_000


@pytest.mark.parametrize(
    ("status", "answer"),
    [(0, "SENT"), (0xB006, "SENT"), (0xBFFF, "SENT"), (0x0001, "SENT"), (0x0116, "SENT"),
     (0xA701, "TRY_LATER"), (0x0110, "TRY_LATER"), (0x0213, "TRY_LATER"),
     (0xA900, "REFUSED"), (0xC123, "REFUSED"), (0x0122, "REFUSED"), (0x0117, "REFUSED")],
)  # fmt: skip
def test_each_status_has_its_meaning(status, answer):
    assert answer_of(status) == answer


def test_the_command_sends_a_folder(tmp_path, files):
    from dicom_node.cli import app

    with FakePacs(tmp_path) as pacs:
        to = f"{pacs.ae_title}@{pacs.host}:{pacs.port}"
        run = CliRunner().invoke(app, ["send", str(files[0].parent), "--to", to])
    assert run.exit_code == 0, run.output
    assert "3 of 3 files arrived" in run.output
    assert len(pacs.received) == 3


@pytest.mark.parametrize("address", ["", "PACS", "PACS@host", "@host:1", "PACS@host:port"])
def test_a_wrong_address_is_explained(address):
    with pytest.raises(ConfigurationError, match="write AE@HOST:PORT"):
        parse_address(address, "NODE")


def test_an_answer_that_another_thread_took_reaches_the_sender(tmp_path):
    """pynetdicom's reactor may take it from the queue, a moment after the request went out."""
    files = save_study(make_study(phantom(1, slices=1, size=16)), tmp_path / "out")
    with (
        FakePacs(tmp_path / "in") as pacs,
        Outgoing(
            Peer(pacs.host, pacs.port, pacs.ae_title, "US"),
            [build_context(CTImageStorage, ExplicitVRLittleEndian)],
        ) as association,
    ):
        association.dimse_timeout = 10
        answers = association.dimse.msg_queue
        take = answers.get

        def snatch(*, block, timeout):
            if block:
                context_id, message = take(timeout=5)
                association._serve_request(message, context_id)
            return take(block=block, timeout=timeout)

        answers.get = snatch
        assert association.send_c_store(files[0]).Status == 0

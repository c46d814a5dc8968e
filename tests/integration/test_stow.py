"""STOW-RS over a real server: what it says was stored is in store and ledger, the rest is named."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import uvicorn
from catalogue import line_of
from log_lines import log_lines
from pydantic import SecretStr
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG2MPML,
    BasicTextSRStorage,
    ExplicitVRBigEndian,
)

from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.receive.notices import MPPS
from dicom_node.redis_server import free_port
from dicom_node.settings.listen import Listen
from dicom_node.settings.node import Settings
from dicom_node.settings.web import Web
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study
from dicom_node.web.app import create_app
from dicom_node.web.connections import LIMITS, MOST_OF_A_HOST, MOST_REQUESTS, RETRY_AFTER_S
from dicom_node.web.guard import MAX_DEPOSIT_BYTES

RELATED = 'multipart/related; type="application/dicom"; boundary=cut'
REFERENCED, FAILED, UNNAMED = "00081199", "00081198", "0008119A"


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def uids(self, sequence: str) -> list[str]:
        items = self.json.get(sequence, {"Value": []})["Value"]
        return [item["00081155"]["Value"][0] for item in items]

    def reasons(self, sequence: str = FAILED) -> list[int]:
        return [item["00081197"]["Value"][0] for item in self.json[sequence]["Value"]]


@dataclass
class Site:
    port: int
    ledger: Ledger
    store: InstanceStore
    lines: list[Any]

    def post(self, body: Any, path: str = "/studies", **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Content-Type": RELATED} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request("POST", path, body, sent)
        return _answer(connection)

    def get(self, path: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return _answer(connection)

    def said(self, reason: str) -> dict[str, Any]:
        found = [line for line in self.lines if line.get("reason") == reason]
        assert found, self.lines
        return dict(found[-1])

    def told(self, number: int) -> dict[str, Any]:
        """The log line of a case of the catalogue."""
        found = line_of(number, self.lines)
        assert found, self.lines
        return found

    def leftovers(self) -> list[Path]:
        return [p for p in (self.store.root / "incoming").rglob("*") if p.is_file()]


def _answer(connection: HTTPConnection) -> Answer:
    response = connection.getresponse()
    answer = Answer(response.status, response.read(), response.headers)
    connection.close()
    return answer


@contextmanager
def open_site(folder: Path, **settings: Any) -> Iterator[Site]:
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}")
    store = InstanceStore(folder / "store")
    port = free_port()
    app = create_app(Settings(**settings), ledger, store)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, **LIMITS))
    with log_lines() as lines:
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield Site(port, ledger, store, lines)
        server.should_exit = True
        thread.join()
    ledger.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, listen=Listen(reserve_mib=1)) as opened:
        yield opened


@pytest.fixture
def study() -> list[Dataset]:
    return make_study(phantom(1, slices=3, size=32, lesions=0))


def multipart(*parts: bytes, kind: str = "application/dicom") -> bytes:
    head = f"--cut\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--cut--\r\n"


def kept(site: Site, study: list[Dataset]) -> set[str]:
    found = site.ledger.studies.instances(study[0].StudyInstanceUID)
    for instance in found:
        assert site.store.path(instance.sha256).stat().st_size == instance.size_bytes
    return {instance.sop_instance_uid for instance in found}


def uids(study: list[Dataset]) -> list[str]:
    return [str(data.SOPInstanceUID) for data in study]


class TestTaken:
    @pytest.mark.parametrize("chunk", [1 << 20, 1000, 7])
    def test_all_of_a_study(self, site, study, chunk):
        body = multipart(*map(file_bytes, study))
        chunks = (body[at : at + chunk] for at in range(0, len(body), chunk))
        answer = site.post(chunks)
        assert answer.status == 200
        assert answer.uids(REFERENCED) == uids(study)
        assert FAILED not in answer.json
        assert kept(site, study) == set(uids(study))
        assert site.leftovers() == []

    def test_under_the_address_of_its_study(self, site, study):
        path = f"/studies/{study[0].StudyInstanceUID}"
        assert site.post(multipart(file_bytes(study[0])), path).status == 200

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("", "application/dicom+json"),
            ("*/*", "application/dicom+json"),
            ("application/*;q=0.8, text/html", "application/dicom+json"),
            ("application/json", "application/json"),
            ("application/dicom+json;q=0.1, application/dicom+xml", "application/dicom+xml"),
            ("application/dicom+json;q=0, */*;q=0.5", "application/dicom+xml"),
        ],
    )
    def test_the_answer_is_in_the_media_type_that_was_asked_for(self, site, study, accept, kind):
        del study[1].SeriesInstanceUID
        answer = site.post(multipart(*map(file_bytes, study), b"not DICOM"), Accept=accept)
        assert (answer.status, answer.headers["Content-Type"]) == (202, kind)
        if kind.endswith("xml"):
            path = "*[@keyword='{}']/{{*}}Item/*[@keyword='{}']/{{*}}Value"
            told = {
                keyword: [value.text for value in ET.fromstring(answer.body).iterfind(each)]
                for keyword, each in {
                    "taken": path.format("ReferencedSOPSequence", "ReferencedSOPInstanceUID"),
                    "failed": path.format("FailedSOPSequence", "ReferencedSOPInstanceUID"),
                    "why": path.format("FailedSOPSequence", "FailureReason"),
                    "unnamed": path.format("OtherFailuresSequence", "FailureReason"),
                }.items()
            }
            assert told == {
                "taken": [uids(study)[0], uids(study)[2]],
                "failed": [uids(study)[1]],
                "why": [str(0xA900)],
                "unnamed": [str(0xC000)],
            }
        else:
            assert answer.uids(REFERENCED) == [uids(study)[0], uids(study)[2]]

    def test_a_resend_changes_nothing(self, site, study):
        for _ in range(2):
            assert site.post(multipart(*map(file_bytes, study))).status == 200
        (seen,) = site.ledger.studies.receiving()
        assert seen.arrivals == 3
        assert site.said("DUP_SAME")["event"] == "store.note"

    def test_a_body_with_a_preamble_and_no_part_headers(self, site, study):
        body = b"\r\n--cut\r\n\r\n" + file_bytes(study[0]) + b"\r\n--cut--"
        assert site.post(body).status == 200

    def test_a_part_that_holds_most_of_the_boundary(self, site, study):
        study[0].ImageComments = "x\r\n--cu\r\n--cu--\r"
        assert site.post(multipart(file_bytes(study[0]))).status == 200

    def test_63_a_preamble_that_is_a_program_is_zeroed(self, site, study):
        for magic in (b"MZ\x90\0", b"\x7fELF"):
            raw = magic + file_bytes(study[0])[4:]
            assert site.post(multipart(raw)).status == 200
            assert site.told(63)["aet"] == "STOW-RS"
        (instance,) = site.ledger.studies.instances(study[0].StudyInstanceUID)
        assert site.store.path(instance.sha256).read_bytes()[:132] == bytes(128) + b"DICM"


class TestRefused:
    def test_some_of_them(self, site, study):
        del study[1].SeriesInstanceUID
        answer = site.post(multipart(*map(file_bytes, study), b"not DICOM", b""))
        assert answer.status == 202
        assert answer.uids(REFERENCED) == [uids(study)[0], uids(study)[2]]
        assert (answer.uids(FAILED), answer.reasons()) == ([uids(study)[1]], [0xA900])
        assert answer.reasons(UNNAMED) == [0xC000, 0xC000]
        assert kept(site, study) == {uids(study)[0], uids(study)[2]}
        line = site.said("UID_MISSING")
        assert (line["event"], line["status"], line["peer"]) == (
            "store.reject",
            "A900",
            "127.0.0.1",
        )
        assert line["sop"] == uids(study)[1]
        assert site.said("UNPARSEABLE")["bytes"] == 9
        assert site.said("NO_DATASET")["status"] == "C000"
        assert site.leftovers() == []

    def test_an_instance_of_another_study(self, site, study):
        answer = site.post(multipart(file_bytes(study[0])), "/studies/1.2.3")
        assert (answer.status, answer.reasons()) == (409, [0xA900])
        site.said("STUDY_MISMATCH")
        assert kept(site, study) == set()

    def test_an_address_that_is_no_uid(self, site, study):
        assert site.post(multipart(file_bytes(study[0])), "/studies/..x").status == 400
        site.said("UID_INVALID")

    @pytest.mark.parametrize(
        ("sop_class", "syntax", "status", "code"),
        [
            (MPPS, None, 0x0122, "NO_CONTEXT"),
            ("1.2.3.4.5", None, 0x0122, "NO_CONTEXT"),
            (None, MPEG2MPML, 0xC122, "NO_SYNTAX"),
            (None, "1.3.46.670589.33.1.4.1", 0xC122, "NO_SYNTAX"),
            (BasicTextSRStorage, MPEG2MPML, 0xC122, "NO_SYNTAX"),
        ],
    )
    def test_what_a_negotiation_would_not_have_accepted(
        self, site, study, sop_class, syntax, status, code
    ):
        raw = file_bytes(study[0])
        data = study[0]
        if sop_class:
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
            raw = file_bytes(data)
        if syntax:
            raw = with_syntax(raw, syntax)
        answer = site.post(multipart(raw))
        assert answer.status == 409
        assert site.said(code)["status"] == f"{status:04X}"

    def test_big_endian_is_taken(self, site, study):
        data = study[0]
        data.PixelData = data.PixelData[: data.Rows * data.Columns * 2]
        raw = big_endian(data)
        assert site.post(multipart(raw)).status == 200
        (instance,) = site.ledger.studies.instances(data.StudyInstanceUID)
        assert instance.transfer_syntax_uid == ExplicitVRBigEndian

    def test_42_a_store_without_room(self, tmp_path, study):
        with open_site(tmp_path, listen=Listen(reserve_mib=1 << 40)) as site:
            answer = site.post(multipart(*map(file_bytes, study)))
            assert (answer.status, answer.reasons(UNNAMED)) == (409, [0xA700] * 3)
            assert site.told(42)["status"] == "A700"

    def test_44_a_ledger_that_is_locked(self, site, study, monkeypatch):
        def busy(*_: Any) -> None:
            raise LedgerBusy("locked")

        monkeypatch.setattr(site.ledger.studies, "record", busy)
        answer = site.post(multipart(file_bytes(study[0])))
        assert (answer.status, answer.reasons()) == (409, [0xA700])
        site.said("LEDGER_BUSY")


def with_syntax(raw: bytes, uid: str) -> bytes:
    """The same file, whose meta information names another transfer syntax."""
    start = raw.index(b"\x02\0\x10\0UI")
    length = int.from_bytes(raw[start + 6 : start + 8], "little")
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return raw[: start + 6] + len(value).to_bytes(2, "little") + value + raw[start + 8 + length :]


def big_endian(data: Dataset) -> bytes:
    from wire import encoded

    from dicom_node.receive.incoming import file_head

    head = file_head(data.SOPClassUID, data.SOPInstanceUID, ExplicitVRBigEndian)
    return head + encoded(data, ExplicitVRBigEndian)


class TestTheRequest:
    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ('multipart/related; type="application/dicom"', multipart(b"x")),
            ("multipart/related", multipart(b"x")),
            (RELATED, b"no boundary at all"),
            (RELATED, b""),
            (RELATED, multipart()),
            (RELATED, multipart(b"x").replace(b"--cut--", b"")),
            (RELATED, multipart(b"x", b"y").replace(b"--cut--", b"")),
            (RELATED.replace("cut", "x" * 300), multipart(b"x")),
            (RELATED, b"--cut\r\n" + b"x" * 100_000),
        ],
    )
    def test_69_one_that_is_no_multipart_is_400(self, site, kind, body):
        assert site.post(body, Content_Type=kind).status == 400
        line = site.told(69)
        assert (line["event"], line["status"]) == ("web.reject", 400)
        assert site.leftovers() == []

    def test_70_one_of_4_gb_is_413_before_it_is_read(self, site):
        assert site.post(b"", Content_Length="4294967296").status == 413
        line = site.told(70)
        assert (line["event"], line["status"], line["peer"]) == ("web.reject", 413, "127.0.0.1")

    def test_70_one_that_grows_beyond_the_limit_is_413(self, site, study, monkeypatch):
        monkeypatch.setattr("dicom_node.web.guard.MAX_DEPOSIT_BYTES", 100_000)
        head, tail = multipart(b"x").split(b"x\r\n")
        chunks = iter([head, *[bytes(10_000)] * 20, b"\r\n" + tail])
        assert site.post(chunks).status == 413
        assert site.told(70)["status"] == 413
        assert site.leftovers() == []

    def test_a_body_that_comes_no_more_is_408_and_leaves_nothing(self, site, monkeypatch):
        monkeypatch.setattr("dicom_node.web.stow.SILENCE_S", 0.2)
        head, _ = multipart(b"x").split(b"x\r\n")

        def slowly():
            yield head + bytes(1000)
            time.sleep(1)
            yield b"late"

        assert site.post(slowly()).status == 408
        assert site.said("BODY_DEADLINE")["event"] == "web.reject"
        assert site.leftovers() == []

    def test_a_body_that_comes_in_drops_is_408(self, site, monkeypatch):
        """Each before the silence would be too long."""
        monkeypatch.setattr("dicom_node.web.stow.SILENCE_S", 0.6)
        head, _ = multipart(b"x").split(b"x\r\n")
        sent = []

        def dripping():
            yield head
            while len(sent) < 50 and not site.lines:
                sent.append(b"x")
                time.sleep(0.2)
                yield b"x"

        assert site.post(dripping()).status == 408
        site.said("BODY_DEADLINE")
        assert len(sent) < 50
        assert site.leftovers() == []

    def test_70_a_compressed_body_is_415(self, site, study):
        body = gzip.compress(multipart(file_bytes(study[0])))
        assert site.post(body, Content_Encoding="gzip").status == 415
        assert site.told(70)["status"] == 415

    @pytest.mark.parametrize(
        "kind", ["application/dicom", "multipart/form-data; boundary=cut", "text/plain"]
    )
    def test_another_media_type_is_415(self, site, study, kind):
        assert site.post(multipart(file_bytes(study[0])), Content_Type=kind).status == 415
        assert kept(site, study) == set()

    @pytest.mark.parametrize(
        "accept", ["text/html", "application/dicom+json;q=0", "image/*", "x;q=y"]
    )
    def test_who_cannot_read_the_answer_is_406_and_nothing_is_taken(self, site, study, accept):
        answer = site.post(multipart(file_bytes(study[0])), Accept=accept)
        assert (answer.status, b"application/dicom+xml" in answer.body) == (406, True)
        assert site.said("ACCEPT")["event"] == "web.reject"
        assert kept(site, study) == set()

    def test_metadata_with_bulk_data_is_415(self, site):
        kind = RELATED.replace("application/dicom", "application/dicom+json")
        body = multipart(b"{}", kind="application/dicom+json")
        assert site.post(body, Content_Type=kind).status == 415
        assert site.post(body).status == 415
        site.said("MEDIA_TYPE")

    def test_more_parts_than_anyone_sends_are_413(self, site, monkeypatch):
        monkeypatch.setattr("dicom_node.web.parts.MOST_PARTS", 5)
        assert site.post(multipart(*[b"x"] * 6)).status == 413

    @pytest.mark.parametrize(
        "headers",
        [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}],
    )
    def test_71_one_of_another_site_is_403(self, site, study, headers):
        assert site.post(multipart(file_bytes(study[0])), **headers).status == 403
        line = site.told(71)
        assert (line["event"], line["status"]) == ("web.reject", 403)
        assert kept(site, study) == set()

    def test_without_the_password_it_is_401(self, tmp_path, study):
        with open_site(tmp_path, web=Web(password=SecretStr("s3cret"))) as site:
            assert site.post(multipart(file_bytes(study[0]))).status == 401
            assert kept(site, study) == set()

    def test_a_sender_that_goes_away_leaves_nothing_behind(self, site, study):
        connection = HTTPConnection("127.0.0.1", site.port)
        connection.putrequest("POST", "/studies")
        connection.putheader("Content-Type", RELATED)
        connection.putheader("Content-Length", "10000000")
        connection.endheaders(multipart(file_bytes(study[0]))[:-20])
        connection.close()
        deadline = time.monotonic() + 5
        while not site.lines:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        site.said("ASSOC_ABORT")
        assert site.leftovers() == []
        assert kept(site, study) == set()


class TestConnections:
    def test_one_host_does_not_take_them_all(self, site):
        held = [connect(site) for _ in range(64)]
        assert closes(connect(site))
        assert site.said("CONN_LIMIT")["peer"] == "127.0.0.1"
        other = HTTPConnection("127.0.0.1", site.port, source_address=("127.0.0.2", 0))
        other.request("GET", "/healthz")
        assert other.getresponse().status == 200
        for each in [*held, other]:
            each.close()

    @pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
    def test_one_that_asks_for_nothing_is_closed(self, site, monkeypatch, says):
        monkeypatch.setattr("dicom_node.web.connections.HEAD_S", 0.3)
        with connect(site) as idle:
            idle.sendall(says)
            with suppress(ConnectionError):
                for _ in range(8):
                    time.sleep(0.1)
                    idle.sendall(b"x" if says else b"")
            assert closes(idle)
        site.said("NO_REQUEST")

    def test_one_whose_request_takes_long_is_not(self, site, study, monkeypatch):
        monkeypatch.setattr("dicom_node.web.connections.HEAD_S", 0.2)
        whole = multipart(file_bytes(study[0]))

        def slowly():
            for start in range(0, len(whole), len(whole) // 4):
                yield whole[start : start + len(whole) // 4]
                time.sleep(0.3)

        assert site.post(slowly()).status == 200


HOSTS = ("127.0.0.2", "127.0.0.3")


@pytest.fixture
def busy(site: Site) -> Iterator[list[socket.socket]]:
    """As many requests as the node has at a time, of two hosts, whose bodies do not come."""
    head = f"POST /studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {RELATED}\r\n"
    head += "Content-Length: 1000\r\n\r\n"
    held = [connect(site, host) for host in HOSTS for _ in range(MOST_OF_A_HOST)]
    assert len(held) == MOST_REQUESTS
    for each in held:
        each.sendall(head.encode())
    deadline = time.monotonic() + 10
    while site.get("/").status != 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield held
    for each in held:
        each.close()


class TestBusy:
    """More requests at a time than the node takes."""

    def test_who_comes_is_told_when_to_come_again(self, site, study, busy):
        site.lines.clear()
        answer = site.post(multipart(*map(file_bytes, study)))
        assert (answer.status, answer.headers["Retry-After"]) == (503, str(RETRY_AFTER_S))
        assert b"Ask again in" in answer.body
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        line = site.said("REQUEST_LIMIT")
        assert (line["event"], line["status"], line["peer"]) == ("web.reject", 503, "127.0.0.1")
        assert kept(site, study) == set()
        assert site.leftovers() == []

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
    def test_what_monitors_ask_is_answered(self, site, busy, path):
        assert site.get(path).status == 200

    def test_a_sender_that_tries_again_loses_nothing(self, site, study, busy):
        threading.Timer(0.5, lambda: [each.close() for each in busy]).start()
        refused = []

        def sent(data: Dataset) -> int:
            while (answer := site.post(multipart(file_bytes(data)))).status == 503:
                refused.append(answer)
                time.sleep(0.1)
            return answer.status

        assert [sent(data) for data in study] == [200] * len(study)
        assert refused
        assert kept(site, study) == set(uids(study))
        (seen,) = site.ledger.studies.receiving()
        assert seen.arrivals == len(study), "each of them once"


def connect(site: Site, source: str = "127.0.0.1") -> socket.socket:
    address = ("127.0.0.1", site.port)
    return socket.create_connection(address, timeout=5, source_address=(source, 0))


def closes(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def rss_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_memory_does_not_grow_with_what_is_sent(site, study):
    """Half a gigabyte in one request, of which no more than a few MiB are ever in memory."""
    part = file_bytes(study[0])
    filler = bytes(1 << 20)
    before = rss_kib()

    def body() -> Iterator[bytes]:
        head = b"--cut\r\n\r\n"
        yield head + part + b"\r\n" + head
        for _ in range(512):
            yield filler
        yield b"\r\n--cut--\r\n"

    answer = site.post(body())
    assert answer.status == 202
    assert rss_kib() - before < 64 << 10
    assert MAX_DEPOSIT_BYTES > 1 << 29

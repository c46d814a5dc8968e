"""Mutual TLS: without the right certificate nobody is served; a silent client harms nobody."""

import hashlib
import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from door import open_door, rss_mib
from flood import Flood, Piece
from wire import AC, RJ, Wire, request

from dicom_node import doctor
from dicom_node.doctor import Health
from dicom_node.domain.errors import ConfigurationError
from dicom_node.receive import tls_gate
from dicom_node.settings.listen import Listen, Tls
from dicom_node.settings.node import Settings


@dataclass
class Certificates:
    folder: Path

    def make(self, name: str, signer: str = "ca") -> None:
        key, file = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                     self.folder / "csr", "-subj", f"/CN={name}")  # fmt: skip
        self.openssl("x509", "-req", "-in", self.folder / "csr", "-CA",
                     self.folder / f"{signer}.pem", "-CAkey", self.folder / f"{signer}.key",
                     "-CAcreateserial", "-days", "2", "-out", file)  # fmt: skip

    def authority(self, name: str) -> None:
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                     f"/CN={name}", "-keyout", self.folder / f"{name}.key",
                     "-out", self.folder / f"{name}.pem")  # fmt: skip

    def openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def sha256(self, name: str) -> str:
        der = ssl.PEM_cert_to_DER_cert((self.folder / f"{name}.pem").read_text())
        return hashlib.sha256(der).hexdigest()

    def client(self, name: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.folder / "ca.pem")
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context


@pytest.fixture(scope="module")
def certificates(tool, tmp_path_factory):
    tool("openssl")
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.authority("ca")
    made.authority("stranger")
    for name in ("node", "ct1", "ct2"):
        made.make(name)
    made.make("foreign", signer="stranger")
    return made


@pytest.fixture
def door(certificates, tmp_path):
    with open_tls_door(certificates, tmp_path) as opened:
        yield opened


def open_tls_door(certificates, tmp_path, **limits):
    folder = certificates.folder
    tls = {
        "certificate": folder / "node.pem",
        "key": folder / "node.key",
        "authority": folder / "ca.pem",
    }
    callers = [{"ae_title": "CT1", "certificate_sha256": certificates.sha256("ct1")}]
    return open_door(tmp_path, tls=tls, callers=callers, **limits)


def connect(door, context: ssl.SSLContext, source: str | None = None) -> Wire:
    return Wire(context.wrap_socket(door.wire(source).socket))


def test_the_right_certificate_is_served(door, certificates):
    with connect(door, certificates.client("ct1")) as wire:
        assert wire.socket.version() in ("TLSv1.2", "TLSv1.3")
        assert wire.associate(calling="CT1") == AC


def test_a_request_that_comes_with_the_end_of_the_handshake(door, certificates):
    """Both are read at once, before the connection is told that it is one."""
    context = certificates.client("ct1")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going)
    with door.wire() as wire:
        while not is_done(tls):
            wire.send(going.read())
            coming.write(wire.socket.recv(65536))
        tls.write(request(calling="CT1"))
        wire.send(going.read())
        assert answer_of(tls, coming, wire)[:1] == bytes([AC])
    assert not [line for line in door.lines if line["event"] == "assoc.reject"]


def is_done(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def answer_of(tls: ssl.SSLObject, coming: ssl.MemoryBIO, wire: Wire) -> bytes:
    while True:
        try:
            return tls.read(65536)
        except ssl.SSLWantReadError:
            heard = wire.socket.recv(65536)
            if not heard:
                return b""
            coming.write(heard)


def test_13_a_certificate_that_belongs_to_another_title(door, certificates):
    with connect(door, certificates.client("ct2")) as wire:
        wire.send(request(calling="CT1"))
        assert wire.receive() == (RJ, bytes([0, 1, 1, 3]))
    door.told(13, aet="CT1")


@pytest.mark.parametrize("name", [None, "foreign"])
def test_14_no_certificate_or_one_that_nobody_signed(door, certificates, name):
    assert is_turned_away(door, certificates.client(name))
    door.told(14, aet="")


def is_turned_away(door, context) -> bool:
    """In TLS 1.3 a client learns after its own handshake that its certificate was not taken."""
    try:
        with connect(door, context) as wire:
            wire.send(request(calling="CT1"))
            return wire.receive() is None
    except (ssl.SSLError, ConnectionError):
        return True


def test_14_plain_dicom_on_the_tls_port(door):
    with door.wire() as wire:
        wire.send(request(calling="CT1"))
        assert wire.is_closed(3)
    door.told(14, aet="")


def test_15_a_silent_client_is_closed_and_others_are_served_meanwhile(
    door, certificates, monkeypatch
):
    monkeypatch.setattr(tls_gate, "HANDSHAKE_S", 1.0)
    silent = [door.wire() for _ in range(20)]
    started = time.monotonic()
    with connect(door, certificates.client("ct1")) as wire:
        assert wire.associate(calling="CT1") == AC
    assert time.monotonic() - started < 2
    assert all(wire.is_closed(4) for wire in silent)
    door.told(15, aet="")


def test_15_200_silent_clients_leave_a_valid_one_served(certificates, tmp_path):
    """I12, before the handshake; half of them have begun it."""
    limits = {"max_connections": 600, "max_connections_per_host": 300}
    with open_tls_door(certificates, tmp_path, **limits) as door:
        before = rss_mib()
        silent = [door.wire() for _ in range(200)]
        for wire in silent[::2]:
            wire.send(b"\x16\x03\x01\x02\x00\x01")
        started = time.monotonic()
        with connect(door, certificates.client("ct1")) as wire:
            assert wire.associate(calling="CT1") == AC
        assert time.monotonic() - started < 2
        assert rss_mib() - before < 100
        for wire in silent:
            wire.socket.close()


def test_200_that_come_again_and_again_leave_a_valid_one_served(certificates, tmp_path):
    """I12, with a certificate of nobody, with another's, and with none; the limits as they come."""
    folder, asks = certificates.folder, request(calling="CT1")
    pieces = [
        Piece(asks, seconds=1.0, certificate=[folder / f"{name}.pem", folder / f"{name}.key"])
        for name in ("foreign", "ct2")
    ]
    pieces.append(Piece(asks, seconds=1.0, certificate=()))
    with open_tls_door(certificates, tmp_path) as door:
        before = rss_mib()
        flood = Flood(door.settings.port, pieces)
        while flood.goes_on:
            started = time.monotonic()
            with connect(door, certificates.client("ct1"), "127.0.0.3") as wire:
                assert wire.associate(calling="CT1") == AC
            assert time.monotonic() - started < 2
        assert min(flood.came()) >= 200
        assert rss_mib() - before < 100
        door.told(13, aet="CT1")
        door.told(14, aet="")


def test_old_tls_is_refused(door, certificates):
    context = certificates.client("ct1")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.raises((ssl.SSLError, ConnectionError, ValueError)):
        connect(door, context)


def test_certificates_that_cannot_be_read_are_named(certificates, tmp_path):
    tls = dict.fromkeys(("certificate", "key", "authority"), tmp_path / "missing.pem")
    with pytest.raises(ConfigurationError, match=r"listen\.tls"), open_door(tmp_path, tls=tls):
        pass


def test_renewed_certificates_are_taken_up_and_broken_ones_are_not(certificates, tmp_path):
    folder = certificates.folder
    names = ("certificate", "node.pem"), ("key", "node.key"), ("authority", "ca.pem")
    tls = {what: tmp_path / name for what, name in names}
    for file in tls.values():
        shutil.copyfile(folder / file.name, file)

    def served(door):
        with connect(door, certificates.client("ct1")) as wire:
            assert wire.associate(calling="CT1") == AC
            return hashlib.sha256(wire.socket.getpeercert(binary_form=True)).hexdigest()

    with open_door(tmp_path / "door", tls=tls) as door:
        assert served(door) == certificates.sha256("node")
        shutil.copyfile(folder / "ct2.pem", tls["certificate"])
        assert served(door) == certificates.sha256("node"), "the new key is not there yet"
        assert door.said("TLS_FILES")["event"] == "tls.stale"
        shutil.copyfile(folder / "ct2.key", tls["key"])
        assert served(door) == certificates.sha256("ct2")
        shutil.copyfile(folder / "stranger.pem", tls["authority"])
        assert is_turned_away(door, certificates.client("ct1"))
        assert [line["event"] for line in door.lines].count("tls.renewed") == 2


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(certificates, tmp_path):
    """OpenSSL would ask the terminal, and a service would wait there at each start."""
    folder, locked = certificates.folder, tmp_path / "locked.key"
    certificates.openssl("rsa", "-aes256", "-in", folder / "node.key", "-passout", "pass:secret",
                         "-out", locked)  # fmt: skip
    tls = Tls(certificate=folder / "node.pem", key=locked, authority=folder / "ca.pem")
    with pytest.raises(ConfigurationError, match="without a password"):
        tls_gate.tls_context(tls)


@pytest.mark.parametrize(
    ("key", "soon_days", "health"),
    [("node", 1, Health.OK), ("node", 3, Health.NOTE), ("ct1", 1, Health.BAD)],
    ids=["valid", "soon expired", "another's key"],
)
def test_the_doctor_looks_at_our_certificate(certificates, monkeypatch, key, soon_days, health):
    folder = certificates.folder
    monkeypatch.setattr(doctor, "SOON", timedelta(days=soon_days))
    files = {"certificate": "node.pem", "key": f"{key}.key", "authority": "ca.pem"}
    tls = Tls(**{name: folder / file for name, file in files.items()})
    (check,) = doctor._tls(Settings(listen=Listen(tls=tls)))
    assert check.health is health
    assert bool(check.advice) is (health is not Health.OK)


@pytest.mark.dcmtk
def test_dcmtk_sends_over_tls(door, certificates, tool, tmp_path):
    from dicom_node.testing.phantom import phantom
    from dicom_node.testing.study import make_study, save_study

    files = save_study(make_study(phantom(1, slices=2, size=32)), tmp_path / "study")
    folder = certificates.folder
    command = [
        tool("storescu"), "+tls", str(folder / "ct1.key"), str(folder / "ct1.pem"), "+cf",
        str(folder / "ca.pem"), "-aet", "CT1", "-aec", "DICOM_NODE", "127.0.0.1",
        str(door.settings.port), *map(str, files),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    door.arrived(2)

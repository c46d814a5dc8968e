"""The network part of the bad-input catalogue: each case has its answer and its line in the log."""

import os
import random
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Thread

import pytest
from door import Door, open_door, rss_mib
from flood import Flood, Piece
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)
from wire import ABORT, AC, RELEASE_RP, RJ, command, element, encoded, pdv, request

from dicom_node.domain.errors import ProcessingFailure
from dicom_node.receive import connection as connection_module
from dicom_node.receive import incoming as incoming_module
from dicom_node.receive import library, relay, store_scp
from dicom_node.receive.connection import HEADER, MAX_PDU, Connection
from dicom_node.receive.notices import MPPS

VERIFICATION = "1.2.840.10008.1.1"


def instance(uid: str = "1.2.3.4", **attributes: object) -> bytes:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, uid
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    data.Rows = data.Columns = 16
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    data.PixelData = b"\1\2" * 256
    data["PixelData"].VR = "OW"
    return encoded(data)


def statuses_until(wanted: int, wire, root: str) -> list[int]:
    """The answers to images that are sent until one has this answer, for at most half a minute."""
    deadline, given = time.monotonic() + 30, []
    while wanted not in given and time.monotonic() < deadline:
        uid = f"{root}.{len(given) + 1}"
        given.append(wire.store(instance(uid), sop_instance=uid))
        time.sleep(0.3)
    return given


def nested(depth: int) -> bytes:
    """Sequences in sequences."""
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = element(0x0008, 0x1110, "SQ", item)
    return inner


OPEN_END = 0xFFFFFFFF
EMPTY_ITEMS = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 400_000
REFUSED = {
    23: [b""],
    24: [b"GET / HTTP/1.1\r\n\r\n", b"MZ" * 50],
    25: [encoded(Dataset.from_json({"00100010": {"vr": "PN"}}), ImplicitVRLittleEndian)],
    26: [instance()[:-10]],
    27: [element(0x0010, 0x0010, "PN", b"x", length=60000) + instance()],
    28: [element(0x0008, 0x1110, "SQ", b"", length=OPEN_END)],
    29: [nested(300)],
    30: [element(0x0008, 0x1110, "SQ", EMPTY_ITEMS)],
    31: [b"".join(element(0x0009, n % 65536, "LO", b"") for n in range(100_001))],
    33: [instance("1.2.3.5")],
    34: [instance(SOPClassUID=MRImageStorage)],
    35: [instance().replace(element(0x20, 0xD, "UI", b"1.2.3\0"), b"")],
    36: [instance("../../escaped"), instance("/escaped"), instance("1.2\0escaped")],
    37: [instance("1." + "1" * 64)],
}
"""Data sets by their case."""


@pytest.fixture(params=["fast path", "library"])
def door(request, tmp_path):
    with open_door(tmp_path, fast_path=request.param == "fast path") as opened:
        yield opened


@pytest.fixture
def fast(tmp_path):
    with open_door(tmp_path) as opened:
        yield opened


def assert_aborts(wire) -> None:
    answer = wire.receive()
    assert answer is not None
    assert answer[0] == ABORT
    assert wire.is_closed(3)


class TestBeforeAnAssociation:
    def test_1_random_first_bytes(self, door):
        with door.wire() as wire:
            wire.send(b"\xff\xfe\xfd\xfc\xfb\xfa rest")
            assert_aborts(wire)
        door.told(1, aet="")

    @pytest.mark.parametrize("kind", [1, 4])
    def test_2_a_pdu_of_4_gib_is_not_read(self, door, kind):
        with door.wire() as wire:
            wire.send(struct.pack(">BxI", kind, 0xFFFFFFFF))
            assert wire.is_closed(3)
        assert door.told(2, aet="")["bytes"] == 6

    def test_3_an_association_request_over_64_kib(self, door):
        with door.wire() as wire:
            wire.send(struct.pack(">BxI", 1, 100_000))
            assert wire.is_closed(3)
        door.told(3, aet="")

    def test_4_a_header_and_then_silence(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "FIRST_PDU_S", 0.5)
        with door.wire() as wire:
            wire.send(request()[:6])
            assert wire.is_closed(3)
        door.told(4, aet="")

    def test_5_a_connection_and_silence(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "FIRST_PDU_S", 0.5)
        with door.wire() as wire:
            assert wire.is_closed(3)
        door.told(5, aet="")

    def test_6_one_byte_at_a_time(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "FIRST_PDU_S", 1.0)
        started = time.monotonic()
        with door.wire() as wire, pytest.raises(ConnectionError):
            wire.trickle(request() * 10)
        assert time.monotonic() - started < 5
        door.told(6, aet="")

    def test_18_data_before_an_association(self, door):
        with door.wire() as wire:
            wire.send(pdv(b"x"))
            assert_aborts(wire)
        door.told(18, aet="")

    def test_a_request_that_cannot_be_decoded(self, door):
        body = request()[6:74] + b"\x10\0\xff\xff1.2"
        with door.wire() as wire:
            wire.send(struct.pack(">BxI", 1, len(body)) + body)
            assert_aborts(wire)
        door.said("PDU_TYPE")


class TestLimits:
    def test_7_too_many_connections_of_one_host_leave_others_alone(self, tmp_path):
        with open_door(tmp_path, max_connections_per_host=5) as door:
            held = [door.wire() for _ in range(5)]
            with door.wire() as wire:
                assert wire.is_closed(3)
            door.told(7, aet="")
            with door.wire(source="127.0.0.2") as wire:
                assert wire.associate() == AC
            for wire in held:
                wire.socket.close()

    def test_8_more_associations_than_allowed(self, tmp_path):
        with open_door(tmp_path, max_associations=2) as door:
            held = [door.associated() for _ in range(2)]
            with door.wire() as wire:
                wire.send(request())
                assert wire.receive() == (RJ, bytes([0, 2, 3, 2]))
            door.told(8)
            held[0].socket.close()
            time.sleep(0.2)
            with door.wire() as wire:
                assert wire.associate() == AC
            held[1].socket.close()

    def test_8_more_associations_of_one_host_than_allowed(self, tmp_path):
        with open_door(tmp_path, max_associations_per_host=1) as door:
            first = door.associated()
            with door.wire() as wire:
                wire.send(request())
                assert wire.receive() == (RJ, bytes([0, 2, 3, 2]))
            with door.wire(source="127.0.0.2") as wire:
                assert wire.associate() == AC
            first.socket.close()


class TestWhoIsWelcome:
    def rejected(self, door: Door, reason: int, **names: str) -> None:
        with door.wire() as wire:
            wire.send(request(**names))
            assert wire.receive() == (RJ, bytes([0, 1, 1, reason]))

    def test_9_the_wrong_called_title(self, door):
        self.rejected(door, 7, called="OTHER")
        door.told(9)

    def test_10_an_unknown_calling_title(self, tmp_path):
        with open_door(tmp_path, callers=["CT1"]) as door:
            self.rejected(door, 3, calling="STRANGER")
            door.told(10, aet="STRANGER")

    def test_11_a_known_title_from_the_wrong_address(self, tmp_path):
        callers = [{"ae_title": "CT1", "networks": ["127.0.0.2/32"]}]
        with open_door(tmp_path, callers=callers) as door:
            self.rejected(door, 3, calling="CT1")
            door.told(11, aet="CT1")
            with door.wire(source="127.0.0.2") as wire:
                assert wire.associate(calling="CT1") == AC

    @pytest.mark.parametrize(
        ("title", "told"),
        [(b"../../etc/passwd",) * 2, (b"A\nB             ", "A\ufffdB".encode()), (b" " * 16, b"")],
    )
    def test_12_a_title_that_is_none(self, door, title, told):
        pdu = bytearray(request())
        pdu[26:42] = title
        with door.wire() as wire:
            wire.send(bytes(pdu))
            assert wire.receive() == (RJ, bytes([0, 1, 1, 3]))
        door.told(12, aet=told.decode())


class TestNegotiation:
    def results(self, wire, *contexts) -> list[int]:
        wire.send(request(*contexts))
        kind, body = wire.receive()
        assert kind == AC
        return [body[i + 6] for i in range(len(body) - 8) if body[i : i + 2] == b"\x21\0"]

    def test_16_a_class_that_is_not_supported(self, door):
        with door.wire() as wire:
            unknown = ("1.2.3.4.5", [ExplicitVRLittleEndian])
            known = (CTImageStorage, [ExplicitVRLittleEndian])
            assert sorted(self.results(wire, known, unknown)) == [0, 3]
        assert door.told(16)["sop_classes"] == ["1.2.3.4.5"]

    def test_many_classes_that_are_not_supported_are_one_line(self, door):
        with door.wire() as wire:
            unknown = [(f"1.2.3.4.{n}", [ExplicitVRLittleEndian]) for n in range(12)]
            assert self.results(wire, *unknown) == [3] * 12
        assert len(door.told(16)["sop_classes"]) == 12

    def test_17_a_syntax_that_is_not_supported(self, door):
        with door.wire() as wire:
            assert self.results(wire, (CTImageStorage, [DeflatedExplicitVRLittleEndian])) == [4]
        assert door.told(17)["sop_classes"] == ["CT Image Storage"]


class TestEstablished:
    def test_19_an_unknown_context(self, door):
        with door.associated() as wire:
            wire.send(pdv(command(), command=True, context=99))
            assert_aborts(wire)
        door.told(19)

    @pytest.mark.parametrize("pieces", [1, 2])
    def test_19_a_data_set_on_another_context_than_its_command(self, door, pieces):
        """Its file would name the transfer syntax of the one, and hold that of the other."""
        contexts = [(CTImageStorage, [s]) for s in (RLELossless, ExplicitVRLittleEndian)]
        half = len(instance()) // pieces
        with door.associated(*contexts) as wire:
            wire.send(pdv(command(), command=True, context=1))
            for start in range(0, len(instance()), half):
                end = start + half
                last, context = end >= len(instance()), 1 if start == 0 and pieces > 1 else 3
                wire.send(pdv(instance()[start:end], context=context, last=last))
            assert_aborts(wire)
        door.told(19)
        assert door.ledger.studies.receiving() == []

    def test_19_a_command_on_two_contexts(self, door):
        contexts = [(CTImageStorage, [s]) for s in (RLELossless, ExplicitVRLittleEndian)]
        with door.associated(*contexts) as wire:
            wire.send(pdv(command()[:20], command=True, context=1, last=False))
            wire.send(pdv(command()[20:], command=True, context=3))
            assert_aborts(wire)
        door.told(19)

    def test_19_a_notice_on_the_context_of_another_class(self, tmp_path):
        with open_door(tmp_path, fast_path=False) as door, door.associated() as wire:
            wire.send(pdv(command(0x140, sop_class=MPPS), command=True), pdv(b""))
            assert_aborts(wire)
            door.told(19)

    def test_20_a_pdu_over_the_negotiated_size(self, door):
        with door.associated() as wire:
            wire.send(struct.pack(">BxI", 4, 200_000))
            assert wire.is_closed(3)
        door.told(20)

    def test_4_a_header_and_then_silence(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "PDU_S", 0.5)
        with door.associated() as wire:
            wire.send(pdv(command(), command=True)[:8])
            assert wire.is_closed(4)
        door.told(4)

    def test_an_association_that_says_nothing(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "IDLE_S", 0.5)
        with door.wire() as wire:
            assert wire.associate() == AC
            assert wire.is_closed(4)
        door.said("IDLE")

    @pytest.mark.parametrize("kind", [0x30, 1], ids=["echoes", "refused"])
    def test_a_peer_that_never_reads_its_answers(self, fast, monkeypatch, kind):
        """They wait in memory, so what it says is not looked at, and in a while it is closed."""
        monkeypatch.setattr(connection_module, "UNREAD_S", 1.0)
        many = pdv(command(kind, data_set=False), command=True) * 500
        before, began = rss_mib(), time.monotonic()
        with fast.associated((CTImageStorage, [ExplicitVRLittleEndian])) as wire:
            fast.narrow()
            with suppress(OSError):
                while time.monotonic() < began + 20:
                    wire.send(many)
            fast.said("UNREAD")
        assert rss_mib() - before < 20

    def test_a_peer_that_reads_late_gets_all_its_answers(self, fast, monkeypatch):
        pauses, pause = [], Connection.pause_writing
        monkeypatch.setattr(Connection, "pause_writing", lambda c: (pauses.append(c), pause(c)))
        count = 30_000
        echo = pdv(command(0x30, sop_class=VERIFICATION, data_set=False), command=True)
        with fast.associated((VERIFICATION, [ExplicitVRLittleEndian])) as wire:
            fast.narrow()
            sender = Thread(target=lambda: [wire.send(echo * 100) for _ in range(count // 100)])
            sender.start()
            deadline = time.monotonic() + 60
            while not pauses and time.monotonic() < deadline:
                time.sleep(0.05)
            answers = wire.socket.makefile("rb")
            size = 6 + struct.unpack(">BxI", answers.peek(6)[:6])[1]
            assert len(answers.read(count * size)) == count * size
            sender.join()
        assert pauses

    def test_an_answer_that_takes_longer_than_a_silence_may(self, door, monkeypatch):
        """The sender waits for us, not we for it."""
        monkeypatch.setattr(connection_module, "IDLE_S", 0.5)
        monkeypatch.setattr(connection_module, "PDU_S", 0.5)
        synced = os.fdatasync
        with door.associated(), door.associated() as wire:
            monkeypatch.setattr(os, "fdatasync", lambda file: (time.sleep(2), synced(file)))
            wire.send(pdv(command(), command=True), pdv(instance()))
            time.sleep(0.3)
            wire.send(pdv(command(), command=True)[:9])
            assert wire.status() == 0
        door.arrived(1)

    def test_an_answer_that_does_not_come(self, door, monkeypatch):
        monkeypatch.setattr(connection_module, "BUSY_S", 1.0)
        synced = os.fdatasync
        with door.associated(), door.associated() as wire:
            monkeypatch.setattr(os, "fdatasync", lambda file: (time.sleep(3), synced(file)))
            assert wire.store(instance()) is None
            door.said("NO_ANSWER")

    @pytest.mark.parametrize("end", ["closed", "aborted"])
    def test_21_a_connection_lost_in_the_middle(self, door, monkeypatch, end):
        monkeypatch.setattr(incoming_module, "IN_MEMORY", 100)
        wire = door.associated()
        wire.send(pdv(command(), command=True), pdv(instance()[:400], last=False))
        time.sleep(0.3)
        assert len(door.files()) == 1, "it is in its pack, as far as it came"
        if end == "aborted":
            wire.send(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
            assert wire.is_closed(3)
        wire.socket.close()
        door.told(21)
        door.emptied()
        assert door.ledger.studies.receiving() == []

    def test_fragments_before_a_command(self, door):
        with door.associated() as wire:
            wire.send(pdv(instance()))
            assert_aborts(wire)
        door.said("BAD_STATE")

    def test_a_command_that_is_none(self, door):
        with door.associated() as wire:
            wire.send(pdv(b"\1\2\3\4\5\6\7\x08\x09", command=True))
            assert_aborts(wire)
        door.said("BAD_COMMAND")

    def test_a_fragment_longer_than_its_pdu(self, door):
        with door.associated() as wire:
            wire.send(struct.pack(">BxIIBB", 4, 6, 5000, 1, 3))
            assert_aborts(wire)
        door.said("BAD_PDV")

    def test_a_pdu_of_more_fragments_than_anyone_makes(self, door):
        """They would keep the loop from others."""
        with door.associated() as wire:
            wire.send(pdv(command(), command=True), CRUMBS)
            assert_aborts(wire)
        door.said("BAD_PDV")

    def test_echo_and_release(self, door):
        with door.associated((VERIFICATION, [ExplicitVRLittleEndian])) as wire:
            echo = command(0x30, sop_class=VERIFICATION, data_set=False)
            wire.send(pdv(echo, command=True))
            assert wire.status() == 0
            wire.send(bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
            assert wire.receive()[0] == RELEASE_RP
            assert wire.is_closed(3)
        assert [line for line in door.lines if line["event"] == "assoc.reject"] == []


class TestStore:
    @pytest.mark.parametrize("name", ["1.2.3.4.5", MRImageStorage, VERIFICATION])
    def test_a_command_of_another_class_than_its_context(self, door, name):
        with door.associated() as wire:
            assert wire.store(instance(SOPClassUID=name), sop_class=name) == 0x0122
            line = door.said("NO_CONTEXT")
            assert (line["event"], line["status"]) == ("store.reject", "0122")
            assert wire.store(instance()) == 0
        assert door.arrived(1)[0].arrivals == 1

    def test_a_class_that_is_not_stored_at_all(self, door):
        with door.associated((VERIFICATION, [ExplicitVRLittleEndian])) as wire:
            stored = instance(SOPClassUID=VERIFICATION)
            assert wire.store(stored, sop_class=VERIFICATION) == 0x0122
        assert door.ledger.studies.receiving() == []

    def test_22_a_resend_is_a_duplicate_and_makes_no_second_row(self, door):
        with door.associated() as wire:
            assert wire.store(instance()) == 0
            assert wire.store(instance()) == 0
        door.told(22)
        assert door.arrived(1)[0].arrivals == 1

    def test_23_no_data_set_at_all(self, door):
        with door.associated() as wire:
            wire.send(pdv(command(data_set=False), command=True))
            assert wire.status() == 0xC000
        door.told(23)

    @pytest.mark.parametrize(
        ("case", "status", "code"),
        [
            (23, 0xC000, "NO_DATASET"),
            (24, 0xC000, "UNPARSEABLE"),
            (25, 0xC000, "UNPARSEABLE"),
            (26, 0xC000, "TRUNCATED"),
            (27, 0xC000, "LENGTH_OVERRUN"),
            (28, 0xC000, "NO_DELIMITER"),
            (29, 0xC000, "DEPTH_LIMIT"),
            (30, 0xC000, "ITEM_LIMIT"),
            (31, 0xC000, "ELEMENT_LIMIT"),
            (33, 0xA900, "UID_MISMATCH"),
            (34, 0xA900, "CLASS_MISMATCH"),
            (35, 0xA900, "UID_MISSING"),
            (36, 0x0117, "UID_INVALID"),
            (37, 0x0117, "UID_INVALID"),
        ],
    )
    def test_23_to_37_what_is_refused(self, door, case, status, code, tmp_path):
        with door.associated() as wire:
            for data in REFUSED[case]:
                assert wire.send_large(data) == status
                line = door.told(case)
                door.lines.clear()
                assert (line["reason"], line["status"]) == (code, f"{status:04X}")
                assert line["bytes"] == len(data) or not data
                assert line["sop"] == "1.2.3.4", "the instance that the command names"
            assert wire.store(instance("1.2.3.4")) == 0
        door.arrived(1)
        assert not list(tmp_path.rglob("*escaped*"))

    @pytest.mark.parametrize("uid", ["../../escaped", "/escaped", "1." + "1" * 64, ""])
    def test_36_a_command_whose_uid_is_none(self, door, uid, tmp_path):
        with door.associated() as wire:
            assert wire.store(instance(), sop_instance=uid) == 0x0117
            line = door.told(36)
            assert (line["status"], line["bytes"]) == ("0117", len(instance()))
            assert "sop" not in line, "what is no UID is in no line"
            assert wire.store(instance()) == 0
        door.arrived(1)
        assert not list(tmp_path.rglob("*escaped*"))

    def test_36_a_command_in_pieces_whose_uid_is_none(self, door):
        """Nothing of it stays behind for the next to be added to."""
        with door.associated() as wire:
            for uid, status in (("../../escaped", 0x0117), ("1.2.3.4", 0)):
                whole = command(sop_instance=uid)
                wire.send(pdv(whole[:20], command=True, last=False))
                wire.send(pdv(whole[20:], command=True))
                wire.send(pdv(instance()[:100], last=False), pdv(instance()[100:]))
                assert wire.status() == status
        door.arrived(1)

    def test_the_log_tells_the_associations_of_one_sender_apart(self, door):
        with door.associated() as one, door.associated() as other:
            for wire in (one, other, one):
                assert wire.store(instance("1.2.3.5")) == 0xA900
        refused = [line["assoc"] for line in door.lines if line["event"] == "store.reject"]
        assert refused[0] == refused[2] != refused[1]

    def test_38_a_padded_uid(self, door):
        padded = instance().replace(b"UI\x08\x001.2.3.4\0", b"UI\x08\x001.2.3.4 ")
        with door.associated() as wire:
            assert wire.store(padded) == 0
        door.told(38)
        (study,) = door.arrived(1)
        (kept,) = door.ledger.studies.instances(study.study_instance_uid)
        assert kept.sop_instance_uid == "1.2.3.4"

    def test_39_the_same_uid_with_other_bytes(self, door):
        with door.associated() as wire:
            assert wire.store(instance()) == 0
            assert wire.store(instance(PatientID="other")) == 0
        door.said("UID_CONFLICT")
        assert len(door.ledger.studies.instances("1.2.3")) == 2

    def test_40_meta_information_in_the_data_set(self, door):
        with door.associated() as wire:
            assert wire.store(element(2, 0x10, "UI", b"1.2.840.10008.1.2.4.50") + instance()) == 0
        assert door.told(40)["event"] == "store.note"

    @pytest.mark.parametrize("durability", ["full", "os"])
    def test_41_a_disk_that_is_full(self, tmp_path, monkeypatch, durability):
        """With a disk that is: tests/faults/test_full_disk.py."""

        def full(*_: object) -> int:
            raise OSError(28, "no space left")

        with open_door(tmp_path, durability=durability) as door, door.associated() as wire:
            with monkeypatch.context() as broken:
                for name in ("writev", "pwritev", "write", "pwrite"):
                    broken.setattr(os, name, full)
                assert wire.store(instance()) == 0xA700
            assert wire.store(instance()) == 0
            line = door.said("NO_SPACE")
            assert (line["event"], line["status"]) == ("store.reject", "A700")

    def test_32_an_instance_that_is_too_large(self, door, monkeypatch):
        monkeypatch.setattr(incoming_module, "MOST_BYTES", 200_000)
        monkeypatch.setitem(relay.LIMITS, 1, 200_000)
        with door.associated() as wire:
            wire.send(pdv(command(), command=True))
            for _ in range(30):
                wire.send(pdv(b"\0" * 10_000, last=False))
            wire.send(pdv(b"\0"))
            assert wire.status() == 0xA700
            assert_aborts(wire)
        line = next(line for line in door.lines if line["event"] == "store.reject")
        assert (line["reason"], line["status"], line["bytes"]) == ("INSTANCE_SIZE", "A700", 300_001)
        door.told(32)
        door.emptied()

    def test_42_the_reserve_is_reached(self, tmp_path):
        with open_door(tmp_path, reserve_mib=10**9) as door:
            time.sleep(0.7)
            with door.associated() as wire:
                assert wire.store(instance()) == 0xA700
            door.told(42)

    def test_43_a_sync_that_fails_refuses_this_and_all_that_follows(self, door, monkeypatch):
        monkeypatch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "EIO")))
        with door.associated() as wire:
            assert wire.store(instance()) == 0x0110
        monkeypatch.undo()
        assert door.listener.has_failed, "a new process is to recover the packs"
        with door.associated() as wire:
            assert wire.store(instance("1.2.3.9"), sop_instance="1.2.3.9") == 0x0110
        door.told(43)
        assert door.ledger.studies.receiving() == []

    @pytest.mark.slow
    def test_44_a_ledger_that_is_locked(self, door):
        with door.associated() as wire:
            with door.ledger.database.write():
                locked = statuses_until(0xA700, wire, "1.2.3.5")
                (refusal,) = [each for each in door.lines if each["event"] == "store.reject"]
                assert (refusal["reason"], refusal["status"]) == ("LEDGER_BUSY", "A700")
            free = statuses_until(0, wire, "1.2.3.6")
        assert (set(locked), free[-1]) == ({0, 0xA700}, 0)
        door.arrived((locked + free).count(0), within_s=15)

    def test_45_a_fault_of_our_own_is_answered(self, door, monkeypatch):
        for module in (store_scp, library):
            monkeypatch.setattr(module, "identify", lambda *_, **__: 1 / 0)
        with door.associated() as wire:
            assert wire.store(instance()) == 0x0110
        assert door.told(45)["sop"] == "1.2.3.4"
        monkeypatch.undo()
        with door.associated() as wire:
            assert wire.store(instance()) == 0

    def test_a_large_instance_goes_through_a_file(self, door, monkeypatch):
        monkeypatch.setattr(incoming_module, "IN_MEMORY", 1000)
        large = instance(PatientComments="x" * 5000)
        with door.associated() as wire:
            assert wire.store(large) == 0
        door.arrived(1)
        (kept,) = door.ledger.studies.instances("1.2.3")
        assert door.store.file(kept).open().read().endswith(large)

    def test_a_data_set_in_many_fragments(self, door):
        data = instance()
        with door.associated() as wire:
            wire.send(
                pdv(command()[:20], command=True, last=False), pdv(command()[20:], command=True)
            )
            for start in range(0, len(data), 37):
                end = start + 37
                wire.send(pdv(data[start:end], last=end >= len(data)))
            assert wire.status() == 0
        (study,) = door.arrived(1)
        (kept,) = door.ledger.studies.instances(study.study_instance_uid)
        assert door.store.file(kept).open().read().endswith(data)

    def test_a_data_set_with_empty_fragments(self, door):
        data = instance()
        with door.associated() as wire:
            wire.send(pdv(command(), command=True), pdv(b"", last=False), pdv(data, last=False))
            wire.send(pdv(b"", last=False), pdv(b""))
            assert wire.status() == 0
        door.arrived(1)


RAISED = {"max_connections_per_host": 300, "max_connections": 600}
LIBRARY = RAISED | {"fast_path": False}


def assert_served(door: Door, **names: str) -> None:
    """A valid sender from another address gets an image in within two seconds."""
    started = time.monotonic()
    with door.wire(source="127.0.0.3") as wire:
        assert wire.associate(**names) == AC
        assert wire.store(instance()) == 0
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("settings", [RAISED, LIBRARY, {}], ids=["raised", "library", "default"])
def test_200_hostile_connections_leave_a_valid_sender_served(tmp_path, settings):
    """I12: silent, header only, trickling, lying about lengths; memory stays where it was."""
    with open_door(tmp_path, **settings) as door:
        before = rss_mib()
        hostile = [door.wire() for _ in range(200)]
        lies = (b"", request()[:6], struct.pack(">BxI", 1, 65000), request()[:100])
        for number, wire in enumerate(hostile):
            speak(wire, lies[number % len(lies) :][:1])
        for _ in range(5):
            assert_served(door)
        assert rss_mib() - before < 100
        for wire in hostile:
            wire.socket.close()


FLOOD = {
    "PDU_TYPE": Piece(b"\xff" + random.Random(1).randbytes(99)),
    "PDU_SIZE": Piece(struct.pack(">BxI", 1, 0xFFFFFFFF) + bytes(1000)),
    "RQ_SIZE": Piece(struct.pack(">BxI", 1, 100_000) + bytes(100_000)),
    "BAD_STATE": Piece(pdv(bytes(1000))),
    "CALLED_AE": Piece(request(called="OTHER")),
    "CALLING_AE": Piece(request(calling="STRANGER")),
    "PDU_DEADLINE": Piece(request(), slowly=True, seconds=1.6),
}
"""What is said before an association, by the reason why it ends."""


@pytest.mark.parametrize("settings", [RAISED, LIBRARY, {}], ids=["raised", "library", "default"])
def test_200_that_come_again_and_again_leave_a_valid_sender_served(tmp_path, monkeypatch, settings):
    """I12: each is turned away, and is back at once."""
    monkeypatch.setattr(connection_module, "FIRST_PDU_S", 1.0)
    with open_door(tmp_path, callers=["CT1"], **settings) as door:
        before, told = rss_mib(), set()
        flood = Flood(door.settings.port, list(FLOOD.values()))
        while flood.goes_on:
            assert_served(door, calling="CT1")
            told |= {line.get("reason") for line in list(door.lines)}
            door.lines.clear()
        assert min(flood.came()) >= 200
        assert told >= FLOOD.keys() | (set() if settings else {"CONN_LIMIT"})
        assert rss_mib() - before < 100


IMAGE = bytes(100_000)
ECHOES = pdv(command(0x30, sop_class=VERIFICATION, data_set=False), command=True) * 20_000
CRUMBS = struct.pack(">BxI", 4, 10_000 * 7) + struct.pack(">IBBB", 3, 1, 0, 0) * 10_000
ESTABLISHED = {
    "in mid-instance": (pdv(command(), command=True), *[pdv(IMAGE, last=False)] * 9),
    "trickling": (pdv(command(), command=True), pdv(IMAGE, last=False)[:-1]),
    "long PDU": (pdv(command(), command=True), struct.pack(">BxI", 4, 128 << 10), IMAGE),
    "unread echoes": (ECHOES,),
    "crumbs": (pdv(command(), command=True), pdv(b"\0", last=False) * 50_000),
    "crumbs in a PDU": (pdv(command(), command=True), CRUMBS * 20),
}
"""What hostile associations say, and then nothing more."""


@pytest.mark.parametrize("kind", ESTABLISHED)
def test_200_hostile_associations_leave_a_valid_sender_served(tmp_path, kind):
    """I12, with an association each."""
    limits = dict.fromkeys(
        ("max_connections_per_host", "max_connections", "max_associations_per_host",
         "max_associations"), 300
    )  # fmt: skip
    with open_door(tmp_path, reserve_mib=1, **limits) as door:
        before = rss_mib()
        hostile = [door.associated() for _ in range(200)]
        if kind == "unread echoes":
            door.narrow()
        for wire in hostile:
            speak(wire, ESTABLISHED[kind])
        assert_served(door)
        if kind == "trickling":
            for wire in hostile:
                wire.send(b"\0")
            time.sleep(0.5)
        assert rss_mib() - before < 100
        for wire in hostile:
            wire.socket.close()
        door.said("BAD_PDV" if kind == "crumbs in a PDU" else "ASSOC_ABORT")
    assert not [p for p in door.files() if p.stat().st_size > 10_000]


@pytest.mark.parametrize("kind", [kind for kind in ESTABLISHED if "crumbs" not in kind])
def test_200_that_ask_the_library_for_an_association_leave_a_valid_sender_served(tmp_path, kind):
    """I12, with the limits as they come. Its threads take longer than that over crumbs."""
    with open_door(tmp_path, reserve_mib=1, fast_path=False) as door:
        before = rss_mib()
        hostile = [door.wire() for _ in range(200)]
        for wire in hostile:
            speak(wire, (request(),))
        for wire in hostile:
            speak(wire, ESTABLISHED[kind])
        assert_served(door)
        assert rss_mib() - before < 100
        door.told(7, aet="")
        door.told(8)
        for wire in hostile:
            wire.socket.close()


def test_20_senders_in_mid_instance_fit_into_the_memory_of_one_budget(door):
    """Each has sent 12 MiB of an image that does not end: a quarter of a gigabyte, were it kept."""
    each, senders = 12 << 20, 20
    fragment = pdv(bytes(MAX_PDU - HEADER), last=False)
    before = rss_mib()
    with ExitStack() as stack:
        wires = [stack.enter_context(door.associated()) for _ in range(senders)]
        for wire in wires:
            wire.send(pdv(command(), command=True), pdv(instance()[:400], last=False))
        for _ in range(each // len(fragment)):
            for wire in wires:
                wire.send(fragment)
        grown = rss_mib() - before
        packs = sum(path.stat().st_blocks * 512 for path in door.files())
    assert packs > senders * each * 0.9, "it lies in packs"
    assert grown < 100
    door.emptied()


def speak(wire, pdus: tuple[bytes, ...]) -> None:
    """All of it, or as much as is heard within a moment."""
    wire.socket.settimeout(0.2)
    with suppress(TimeoutError, ConnectionError):
        for pdu in pdus:
            wire.send(pdu)
    wire.socket.settimeout(20)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_traffic_ends_no_listener_and_leaves_nothing_unreadable(fast, seed):
    """I18, a bounded part: flips, cuts and repeats in whole conversations."""
    rng = random.Random(seed)
    conversation = request() + pdv(command(), command=True) + pdv(instance())

    def talk(_: int) -> None:
        mutant = bytearray(conversation)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(mutant))
            if rng.random() < 0.7:
                mutant[at] = rng.randrange(256)
            else:
                del mutant[at : at + rng.randint(1, 30)]
        try:
            with fast.wire() as wire:
                wire.socket.settimeout(5)
                wire.send(bytes(mutant))
                wire.socket.shutdown(1)
                assert wire.is_closed(5)
        except ConnectionError:
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(150)))
    with fast.associated() as wire:
        assert wire.store(instance("1.2.3.99"), sop_instance="1.2.3.99") == 0
    fast.arrived(1)
    from pydicom import dcmread

    for study in fast.ledger.studies.receiving():
        for kept in fast.ledger.studies.instances(study.study_instance_uid):
            assert dcmread(fast.store.file(kept).open()).SOPInstanceUID == kept.sop_instance_uid
    assert not isinstance(fast.listener.refusal(), ProcessingFailure)

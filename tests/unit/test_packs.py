"""Packs give back what was appended, seal what needs no recovery, and keep nothing half."""

import errno
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.domain.errors import StoreHeld
from dicom_node.receive import holding
from dicom_node.receive.pack import PACK, RECORD, RECORD_MAGIC, aligned, checksum, named_by
from dicom_node.receive.packs import MOST_OPEN, Packs
from dicom_node.receive.salvage import ASIDE
from dicom_node.store import EndsEarly

PACK_BYTES = 1 << 20
PAYLOAD = 400_000
"""Three records fill a pack."""


def open_packs(folder: Path, ahead: int = 0) -> Packs:
    return Packs(folder, pack_bytes=PACK_BYTES, ahead=ahead)


@pytest.fixture(params=[0, 300_000], ids=["", "room ahead"])
def packs(request, tmp_path):
    return open_packs(tmp_path / "door", request.param)


def payload(number: int) -> bytes:
    return bytes([number]) * PAYLOAD


def append(packs, number):
    return packs.append(b'{"number": %d}' % number, [payload(number)[:7], payload(number)[7:]])


def grow(packs, number):
    growing = packs.grow()
    for start in range(0, PAYLOAD, 1000):
        growing.write([payload(number)[start : start + 500], payload(number)[:500]])
    return growing.finish(b'{"number": %d}' % number)


def files(packs):
    return sorted(packs.folder.iterdir())


def is_sealed(path: Path) -> bool:
    return named_by(path) is not None


def recovered(folder: Path, *, older_ledger: bool = False, extents=None) -> list[bytes]:
    """Payloads that another process finds, and settles."""
    found: list[bytes] = []
    packs = open_packs(folder)
    sealed = {f"{folder.name}/{path.name}": named_by(path) or 0 for path in files(packs)}
    named = extents or {}

    def take(records):
        found.extend(record.file.open().read() for record in records)
        packs.settle((record, True) for record in records)

    packs.recover(take, {} if older_ledger else sealed, lambda _: named)
    packs.close()
    return found


def test_an_instance_is_read_where_it_lies(packs):
    records = [append(packs, 1), append(packs, 2), grow(packs, 3)]
    assert [r.file.open().read() for r in records] == [payload(n) for n in (1, 2, 3)]
    with records[1].file.open() as part:
        assert part.read(10) == payload(2)[:10]
        assert part.seek(-10, os.SEEK_END) == PAYLOAD - 10
        assert part.read() == payload(2)[:10]
        assert part.read() == b""


def test_what_another_process_left_is_found_once(packs):
    expected = {payload(n) for n in range(5)}
    for number in range(4):
        append(packs, number)
    grow(packs, 4)
    assert set(recovered(packs.folder)) == expected
    assert recovered(packs.folder) == []
    assert all(is_sealed(path) for path in files(packs))


def test_an_older_ledger_gets_its_rows_back(packs):
    """A backup of the ledger was put back: sealed packs hold more than its rows name."""
    records = [append(packs, number) for number in range(3)]
    packs.settle([(records[0], True), (records[1], False), (records[2], True)])
    assert named_by(records[0].pack.path) == 2
    assert recovered(packs.folder) == []
    assert recovered(packs.folder, older_ledger=True) == [payload(0), payload(2)]
    assert named_by(records[0].pack.path) == 2


def test_a_sealed_pack_that_cannot_be_read_stays(packs):
    records = [grow(packs, number) for number in range(3)]
    packs.settle((record, True) for record in records)
    os.truncate(records[0].pack.path, records[0].offset)
    assert recovered(packs.folder, older_ledger=True) == []
    assert files(packs) == [records[0].pack.path]


def test_the_packs_of_a_process_that_is_no_more_are_recovered_by_another(packs, tmp_path):
    append(packs, 1)
    found = []
    other = Packs(tmp_path / "other", [packs.folder])
    other.recover(found.extend)
    assert [record.file.open().read() for record in found] == [payload(1)]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(holding, "PATIENCE_S", 0.2)


def test_no_other_process_may_touch_what_one_appends_to(packs, impatient):
    packs.recover(lambda _: None)
    record = append(packs, 1)
    before = record.pack.path.read_bytes()
    with pytest.raises(StoreHeld, match="data_dir"):
        recovered(packs.folder)
    assert record.pack.path.read_bytes() == before
    packs.close()
    assert recovered(packs.folder) == [payload(1)]


def test_a_folder_that_somebody_holds_is_not_abandoned(packs, impatient, tmp_path):
    packs.recover(lambda _: None)
    append(packs, 1)
    found = []
    other = Packs(tmp_path / "other", [packs.folder])
    other.recover(found.extend)
    assert found == []
    append(other, 2)


def test_who_is_about_to_end_is_waited_for(packs):
    packs.recover(lambda _: None)
    append(packs, 1)
    threading.Timer(0.3, packs.close).start()
    assert recovered(packs.folder) == [payload(1)]


@pytest.mark.parametrize("cut", [1, PAYLOAD, PAYLOAD + 20])
def test_a_record_that_was_cut_off_is_none(packs, cut):
    append(packs, 1)
    last = append(packs, 2)
    os.truncate(last.pack.path, last.offset + last.size - cut)
    assert recovered(packs.folder) == [payload(1)]


def test_a_record_with_a_wrong_byte_is_none_and_is_kept_for_a_person(packs):
    record = append(packs, 1)
    flip(record.pack.path, record.offset + 5)
    damaged = record.pack.path.read_bytes()
    assert recovered(packs.folder) == []
    (aside,) = files(packs)
    assert aside.name == record.pack.path.name + ASIDE
    assert aside.read_bytes() == damaged
    assert recovered(packs.folder) == []
    assert files(packs) == [aside]


class TestDamage:
    """One wrong byte, wherever it is, costs one record at most, and no other."""

    HEADER = range(RECORD.size)

    @pytest.mark.parametrize("at", [*HEADER, RECORD.size + 3, RECORD.size + 2000])
    @pytest.mark.parametrize("number", [0, 1])
    def test_records_behind_a_damaged_one_are_found(self, packs, at, number):
        for each in SHORT:
            packs.append(b"{}", [each])
        (path,) = files(packs)
        flip(path, PACK.size + number * aligned(RECORD.size + 2 + len(SHORT[0])) + at)
        before = path.read_bytes()
        expected = [each for n, each in enumerate(SHORT) if n != number]
        assert recovered(packs.folder) == expected
        assert path.with_name(path.name + ASIDE).read_bytes() == before
        assert recovered(packs.folder) == []

    @pytest.mark.parametrize("at", range(PACK.size))
    @pytest.mark.parametrize("sealed", [False, True])
    def test_a_wrong_byte_in_the_header_of_a_pack_costs_nothing(self, packs, at, sealed):
        packs.settle([(packs.append(b"{}", [each]), sealed) for each in SHORT[: 3 * sealed]])
        for each in SHORT[3 * sealed :]:
            packs.append(b"{}", [each])
        packs.close()
        (path,) = files(packs)
        assert is_sealed(path) == sealed
        flip(path, at)
        assert recovered(packs.folder) == SHORT
        assert named_by(path) == 3, "its header is as it should be again"
        assert files(packs) == [path]

    @pytest.mark.parametrize("at", [*HEADER, RECORD.size + 3, RECORD.size + 2000])
    def test_nothing_that_a_row_names_is_cut(self, packs, at):
        records = [packs.append(b"{}", [each]) for each in SHORT]
        (path,) = files(packs)
        flip(path, records[2].offset - RECORD.size - 2 + at)
        before = path.read_bytes()
        found = recovered(packs.folder, extents={r.offset: r.size for r in records})
        assert found == [SHORT[0], SHORT[1]]
        end = aligned(records[2].offset + records[2].size)
        assert path.read_bytes()[PACK.size :] == before[PACK.size : end]
        assert named_by(path) == 3

    def test_a_pack_of_which_only_rows_are_left_stays(self, packs):
        record = packs.append(b"{}", [SHORT[0]])
        flip(record.pack.path, record.offset)
        assert recovered(packs.folder, extents={record.offset: record.size}) == []
        assert named_by(record.pack.path) == 1
        assert record.file.open().read()[1:] == SHORT[0][1:]

    def test_a_pack_that_cannot_be_read_stops_no_other(self, tmp_path, monkeypatch):
        packs = [Packs(tmp_path / "door") for _ in range(2)]
        bad, good = (each.append(b"{}", [SHORT[0]]).pack for each in packs)
        pread = os.pread

        def failing(handle, size, at):
            if os.path.samestat(os.fstat(handle), bad.path.stat()) and at > 0:
                raise OSError(errno.EIO, "bad sector")
            return pread(handle, size, at)

        with monkeypatch.context() as patch, capture_logs() as lines:
            patch.setattr(os, "pread", failing)
            assert recovered(tmp_path / "door") == [SHORT[0]]
        assert is_sealed(good.path)
        (line,) = [line for line in lines if line["event"] == "pack.unreadable"]
        assert (line["reason"], line["pack"], line["error"]) == ("STORAGE_IO", bad.path.name, "EIO")
        assert recovered(tmp_path / "door") == [SHORT[0]], "it is read once it can be"

    def test_a_damaged_pack_of_which_no_copy_can_be_kept_stays_as_it_is(self, packs, monkeypatch):
        """The disk is full: it is tried again at the next start."""
        records = [packs.append(b"{}", [each]) for each in SHORT]
        path = records[0].pack.path
        flip(path, records[1].offset)
        before = path.read_bytes()

        def full(_handle):
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            again = open_packs(packs.folder)
            patch.setattr(os, "fsync", full)
            again.recover(lambda _: pytest.fail("taken"))
            again.close()
        assert files(packs) == [path]
        assert path.read_bytes() == before
        assert recovered(packs.folder) == [SHORT[0], SHORT[2]]

    @pytest.mark.parametrize("mark", [bytes(8), b"guessed!"])
    @pytest.mark.parametrize("wiped", [(0, PACK.size + RECORD.size), (PACK.size, RECORD.size)])
    def test_what_a_sender_wrote_is_no_record_whatever_is_wiped_out(self, packs, mark, wiped):
        """His image holds records at every place; it is kept, then disk and header fail him."""
        forged = RECORD.pack(RECORD_MAGIC, mark, 2, 60, checksum([b"x" * 60, b"{}"]))
        forged += (b"{}" + b"x" * 60).ljust(64)
        packs.append(b"{}".ljust(16), [bytes(136) + forged * 50])
        record = packs.append(b"{}", [SHORT[0]])
        with record.pack.path.open("r+b") as file:
            file.seek(wiped[0])
            file.write(bytes(wiped[1]))
        assert recovered(packs.folder) == ([SHORT[0]] if wiped[0] else [])
        assert len(list(packs.folder.glob(f"*{ASIDE}"))) == 1

    def test_a_file_that_power_loss_left_blank_goes(self, packs):
        (packs.folder / "1-0.pack").write_bytes(bytes(1 << 20))
        assert recovered(packs.folder) == []
        assert files(packs) == []


SHORT = [bytes(128) + b"DICM" + bytes([n]) * 3000 for n in range(1, 4)]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_an_instance_that_was_cut_off_while_it_came_leaves_nothing(packs):
    packs.grow().write([payload(1)])
    assert recovered(packs.folder) == []
    assert files(packs) == []


def test_what_was_given_up_leaves_no_file(packs):
    growing = packs.grow()
    growing.write([payload(1)])
    growing.cancel()
    assert files(packs) == []


def test_what_comes_side_by_side_lies_in_packs_of_their_own(packs):
    first, second = packs.grow(), packs.grow()
    for _ in range(2):
        first.write([payload(1)[: PAYLOAD // 2]])
        second.write([payload(2)[: PAYLOAD // 2]])
    between = append(packs, 3)
    records = [second.finish(b"{}"), first.finish(b"{}"), between]
    assert len({record.pack.path for record in records}) == 3
    assert [r.file.open().read() for r in records] == [payload(n) for n in (2, 1, 3)]
    assert [r.sha256() for r in records] == [r.file.sha256() for r in records]
    assert len({append(packs, n).pack.path for n in range(4, 7)}) < 3, "packs that have room go on"


def test_room_that_was_taken_ahead_is_given_back(tmp_path):
    packs = open_packs(tmp_path / "door", 300_000)
    records = [append(packs, 1)]
    path = records[0].pack.path
    assert path.stat().st_size == PACK.size + 600_000, "no write beyond the end for a while"
    records += [append(packs, 2), append(packs, 3)]
    packs.settle((record, True) for record in records)
    assert is_sealed(path)
    last = records[-1]
    assert path.stat().st_size == aligned(last.offset + last.size)


def test_few_packs_stay_open_however_many_senders_there_were(packs):
    """A pack that is not sealed is read at the next start."""
    records = [growing.finish(b"{}") for growing in filled(packs, 20)]
    packs.settle((record, True) for record in records)
    assert sum(not is_sealed(path) for path in files(packs)) <= MOST_OPEN


def filled(packs, count):
    growing = [packs.grow() for _ in range(count)]
    for each in growing:
        each.write([payload(1)[:100]])
    return growing


def forged(packs) -> bytes:
    """A record of a sender's making."""
    elsewhere = Packs(packs.folder.parent / "elsewhere").append(b'{"forged": 1}', [b"x" * 64])
    return elsewhere.pack.path.read_bytes()[PACK.size :]


def test_what_a_sender_wrote_and_gave_up_is_no_record(packs):
    """Bytes of an aborted instance, shaped as records, wherever the next may be looked for."""
    growing = packs.grow()
    growing.write([forged(packs) * 200])
    growing.cancel()
    append(packs, 1)
    assert recovered(packs.folder) == [payload(1)]


def test_what_a_full_disk_left_of_a_record_is_no_record(packs, monkeypatch):
    whole = os.pwritev
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda *given: whole(*given) - 1)
        with pytest.raises(OSError, match="not all of it"):
            packs.append(b"{}", [forged(packs) * 200])
    packs.append(b"{}", [payload(1)[:10]])
    assert recovered(packs.folder) == [payload(1)[:10]]


def test_a_pack_whose_making_was_cut_off_leaves_nothing(packs):
    (packs.folder / "1-0.pack").write_bytes(b"DCM")
    assert recovered(packs.folder) == []
    assert files(packs) == []


def test_a_pack_is_sealed_when_it_is_full_and_all_of_it_has_rows(packs):
    records = [append(packs, number) for number in range(3)]
    path = records[0].pack.path
    packs.settle((record, True) for record in records[:2])
    assert not is_sealed(path)
    packs.settle([(records[2], True)])
    assert is_sealed(path)
    assert append(packs, 4).pack.path != path


def test_a_pack_that_is_not_full_goes_on(packs):
    packs.settle([(append(packs, 1), True)])
    assert append(packs, 2).pack is append(packs, 3).pack


def test_what_needs_no_row_gives_its_room_back(packs):
    records = [append(packs, number) for number in range(3)]
    packs.settle([(records[0], True), (records[1], False), (records[2], True)])
    used = records[0].pack.path.stat().st_blocks * 512
    assert used < 2.5 * PAYLOAD
    assert records[2].file.open().read() == payload(2)


def test_a_pack_of_which_nothing_is_kept_goes(packs):
    packs.settle([(grow(packs, number), False) for number in range(3)])
    assert files(packs) == []


def test_a_stop_seals_what_has_its_rows_and_nothing_else(packs):
    packs.settle([(append(packs, 1), True)])
    packs.close()
    assert [is_sealed(path) for path in files(packs)] == [True]
    append(packs, 2)
    packs.close()
    assert sorted(is_sealed(path) for path in files(packs)) == [False, True]
    assert recovered(packs.folder) == [payload(2)]


def test_a_disk_that_takes_a_part_refuses_and_the_next_record_is_whole(packs, monkeypatch):
    """write(2) on a disk that fills up writes what fits and reports no error."""
    append(packs, 1)
    with monkeypatch.context() as patch:
        write = os.pwritev
        patch.setattr(os, "pwritev", lambda handle, parts, at: write(handle, parts[:1], at))
        with pytest.raises(OSError, match="not all"):
            append(packs, 2)
    append(packs, 3)
    assert recovered(packs.folder) == [payload(1), payload(3)]


def test_recovered_records_are_written_anew(packs, monkeypatch):
    """After a sync that failed the system may hold bytes that the disk does not."""
    append(packs, 1)
    calls = []
    write, sync = os.pwritev, os.fdatasync
    monkeypatch.setattr(os, "pwritev", lambda *a: (calls.append("write"), write(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda fd: (calls.append("sync"), sync(fd))[1])
    assert recovered(packs.folder) == [payload(1)]
    assert calls == ["write", "sync"]


def test_a_shortened_pack_is_noticed(packs):
    record = grow(packs, 1)
    os.truncate(record.pack.path, record.offset + 10)
    with pytest.raises(EndsEarly):
        record.file.sha256()

"""Packs give back what was appended, seal what needs no recovery, and keep nothing half."""

import os
from pathlib import Path

import pytest

from dicom_node.receive.packs import LONE_START, Packs, named_by
from dicom_node.store import EndsEarly

PACK_BYTES = 1 << 20
PAYLOAD = 400_000
"""Three records fill a pack."""


def open_packs(folder: Path) -> Packs:
    return Packs(folder, pack_bytes=PACK_BYTES)


@pytest.fixture
def packs(tmp_path):
    return open_packs(tmp_path / "door")


def payload(number: int) -> bytes:
    return bytes([number]) * PAYLOAD


def append(packs, number):
    return packs.append(b'{"number": %d}' % number, [payload(number)[:7], payload(number)[7:]])


def lone(packs, number):
    pack = packs.lone()
    for start in range(0, PAYLOAD, 1000):
        pack.write(payload(number)[start : start + 1000])
    return pack.finish(b'{"number": %d}' % number)


def files(packs):
    return sorted(packs.folder.iterdir())


def is_sealed(path: Path) -> bool:
    return named_by(path) is not None


def recovered(folder: Path, *, older_ledger: bool = False) -> list[bytes]:
    """Payloads that another process finds, and settles."""
    found: list[bytes] = []
    packs = open_packs(folder)
    sealed = {f"{folder.name}/{path.name}": named_by(path) or 0 for path in files(packs)}

    def take(records):
        found.extend(record.file.open().read() for record in records)
        packs.settle((record, True) for record in records)

    packs.recover(take, {} if older_ledger else sealed)
    return found


def test_an_instance_is_read_where_it_lies(packs):
    records = [append(packs, 1), append(packs, 2), lone(packs, 3)]
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
    lone(packs, 4)
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
    record = lone(packs, 1)
    packs.settle([(record, True)])
    os.truncate(record.pack.path, LONE_START)
    assert recovered(packs.folder, older_ledger=True) == []
    assert files(packs) == [record.pack.path]


def test_the_packs_of_a_process_that_is_no_more_are_recovered_by_another(packs, tmp_path):
    append(packs, 1)
    found = []
    other = Packs(tmp_path / "other", [packs.folder])
    other.recover(found.extend)
    assert [record.file.open().read() for record in found] == [payload(1)]


@pytest.mark.parametrize("cut", [1, PAYLOAD, PAYLOAD + 20])
def test_a_record_that_was_cut_off_is_none(packs, cut):
    append(packs, 1)
    last = append(packs, 2)
    os.truncate(last.pack.path, last.offset + last.size - cut)
    assert recovered(packs.folder) == [payload(1)]


def test_a_record_with_a_wrong_byte_is_none(packs):
    record = append(packs, 1)
    with record.pack.path.open("r+b") as file:
        file.seek(record.offset + 5)
        file.write(b"\xff")
    assert recovered(packs.folder) == []
    assert files(packs) == []


def test_a_large_instance_that_was_cut_off_leaves_nothing(packs):
    pack = packs.lone()
    pack.write(payload(1))
    assert recovered(packs.folder) == []
    assert files(packs) == []


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
    packs.settle([(lone(packs, 1), False)])
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
    record = lone(packs, 1)
    os.truncate(record.pack.path, LONE_START + 10)
    with pytest.raises(EndsEarly):
        record.file.sha256()

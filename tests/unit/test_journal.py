"""The journal gives back what was appended, frees what is safe elsewhere, and nothing else."""

import threading
from pathlib import Path

import pytest

from dicom_node.receive.journal import Journal

SEGMENT = 1 << 20
PAYLOAD = 300_000
"""Three records fill a segment."""


def open_journal(folder: Path, most: int = 4) -> Journal:
    return Journal(folder, segment_bytes=SEGMENT, most=most)


@pytest.fixture
def journal(tmp_path):
    opened = open_journal(tmp_path)
    opened.recover(list)
    opened.top_up()
    return opened


def payload(number: int) -> bytes:
    return bytes([number]) * PAYLOAD


def append(journal, number):
    entry = journal.append(b'{"number": %d}' % number, [payload(number)])
    assert entry is not None
    entry.segment.sync()
    return entry


def recovered(folder: Path) -> list[bytes]:
    """Payloads that another process finds."""
    found: list[bytes] = []

    def take(entries):
        found.extend(e.segment.handle and read(e) for e in entries)

    open_journal(folder).recover(take)
    return found


def read(entry) -> bytes:
    with entry.segment.path.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size)


def test_what_was_synced_is_found_by_another_process(journal, tmp_path):
    for number in range(5):
        append(journal, number)
    assert recovered(tmp_path) == [payload(n) for n in range(5)]


def test_what_was_recovered_counts_no_more_when_its_segment_is_used_again(journal, tmp_path):
    """A count that starts below zero would free a segment whose records nobody has copied yet."""
    for number in range(3):
        append(journal, number)
    again = open_journal(tmp_path, most=2)

    def take(entries):
        for entry in entries:
            again.release(entry.segment)

    again.recover(take)
    kept = [append(again, number) for number in range(6)]
    again.release(kept[0].segment)
    assert again.append(b"{}", [payload(9)]) is None
    assert [read(entry) for entry in kept] == [payload(n) for n in range(6)]


def test_a_disk_that_is_full_leaves_every_segment_once(journal, monkeypatch):
    entries = [append(journal, number) for number in range(3)]

    def full():
        raise OSError(28, "no space")

    monkeypatch.setattr(journal, "_new", full)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            journal.append(b"{}", [payload(4)])
    for entry in entries:
        journal.release(entry.segment)
    assert append(journal, 5).segment is entries[0].segment
    for number in (6, 7):
        append(journal, number)
    with pytest.raises(OSError, match="no space"):
        journal.append(b"{}", [payload(8)])
    assert read(entries[0]) == payload(5)


def test_two_threads_that_need_a_segment_make_two_files(tmp_path):
    """The committing thread keeps one in reserve while the receiving thread runs out of it."""
    journal = open_journal(tmp_path)
    make, began, goes_on = journal._new, threading.Event(), threading.Event()

    def slow():
        began.set()
        goes_on.wait(5)
        return make()

    journal._new = slow  # type: ignore[method-assign]
    maker = threading.Thread(target=journal.top_up)
    maker.start()
    assert began.wait(5)
    appender = threading.Thread(target=append, args=[journal, 1])
    appender.start()
    goes_on.set()
    maker.join()
    appender.join()
    paths = [segment.path for segment in journal._segments]
    assert len(set(paths)) == len(paths)


def test_a_segment_whose_making_was_cut_off_is_made_anew(tmp_path):
    (tmp_path / "0000.journal").write_bytes(bytes(100))
    journal = open_journal(tmp_path)
    journal.recover(list)
    append(journal, 1)
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {SEGMENT}


def test_nothing_is_left_of_a_segment_that_found_no_room(tmp_path, monkeypatch):
    journal = open_journal(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        journal.top_up()
    assert list(tmp_path.iterdir()) == []

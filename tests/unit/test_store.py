"""The store keeps bytes under their SHA-256 on stable storage, or refuses and leaves nothing."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from dicom_node.domain.errors import OutOfSpace, ProcessingFailure
from dicom_node.receive.packs import Packs
from dicom_node.store import InstanceStore


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path / "store")


def test_bytes_come_back_under_their_hash(store):
    kept = store.keep([b"one ", b"two"])
    assert kept.sha256 == hashlib.sha256(b"one two").hexdigest()
    assert store.path(kept.sha256).read_bytes() == b"one two"
    assert kept.size_bytes == 7


def test_the_same_bytes_are_kept_once(store):
    assert store.keep([b"x"]) == store.keep([b"x"])
    assert [p for p in store.root.rglob("*") if p.is_file()] == [
        store.path(store.keep([b"x"]).sha256)
    ]


def test_nobody_else_may_read_it(store):
    kept = store.keep([b"private"])
    assert store.path(kept.sha256).stat().st_mode & 0o077 == 0
    assert store.incoming.stat().st_mode & 0o077 == 0


def test_data_is_synced_before_the_rename_and_the_folder_after(store, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (calls.append("rename"), rename(a, b))[1])
    store.keep([b"first"])
    assert calls[-3:] == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize(
    ("code", "refusal"), [(errno.ENOSPC, OutOfSpace), (errno.EIO, ProcessingFailure)]
)
def test_a_failed_sync_refuses_and_leaves_nothing(store, monkeypatch, code, refusal):
    def fail(_fd):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(refusal):
        store.keep([b"lost"])
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_no_folder_of_the_store_can_be_lost_with_what_is_in_it(tmp_path, monkeypatch):
    """Each is an entry of the one above it, and that is synced after it was made."""
    synced = []
    fsync = os.fsync

    def note(handle):
        synced.append((Path(f"/proc/self/fd/{handle}").resolve(), set(everything(tmp_path))))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store = InstanceStore(tmp_path / "data" / "store")
    packs = Packs(store.packs / "listen-0")
    for folder in (packs.folder, *everything(tmp_path)):
        assert any(f == folder.parent and folder in there for f, there in synced), folder


def everything(folder):
    return [path for path in folder.rglob("*") if path.is_dir()]


def test_a_folder_that_a_dead_process_made_is_synced_by_the_next(tmp_path, monkeypatch):
    (tmp_path / "store" / "packs" / "listen-0").mkdir(parents=True)
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(Path(f"/proc/self/fd/{fd}").resolve()))
    Packs(tmp_path / "store" / "packs" / "listen-0")
    assert synced == {tmp_path / "store" / "packs", tmp_path / "store"}

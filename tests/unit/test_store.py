"""The store keeps bytes under their SHA-256 on stable storage, or refuses and leaves nothing."""

import errno
import hashlib
import os

import pytest

from dicom_node.domain.errors import OutOfSpace, ProcessingFailure
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


def test_what_was_never_finished_is_discarded(store):
    (store.incoming / "half").write_bytes(b"half")
    assert store.discard_incoming() == 1
    assert list(store.incoming.iterdir()) == []

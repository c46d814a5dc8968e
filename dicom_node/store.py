"""InstanceStore: files named by their SHA-256, on stable storage before anyone hears of them.

Layout: ``<root>/incoming/`` for files being written, ``<root>/ab/<sha256>`` for kept ones. No name
comes from the wire. The order is always the same: bytes, fsync, rename, fsync of the
folder; only then may the ledger speak of the file.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain.errors import OutOfSpace, ProcessingFailure

CHUNK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Kept:
    """A file on stable storage."""

    sha256: str
    size_bytes: int


class InstanceStore:
    """A folder of content-addressed files, private to the node's user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Where the file of a hash lies, or would lie."""
        return self.root / sha256[:2] / sha256

    def keep(self, chunks: Iterable[bytes]) -> Kept:
        """Write bytes and put them on stable storage.

        Raises ``OutOfSpace`` on a full disk, ``ProcessingFailure`` on any other I/O error; then
        nothing is left behind.
        """
        handle, name = tempfile.mkstemp(dir=self.incoming)
        try:
            with _refusing(), os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            return self.adopt(Path(name))
        finally:
            Path(name).unlink(missing_ok=True)

    def adopt(self, file: Path) -> Kept:
        """Take over a finished file of ``incoming``: sync it, and move it to its place.

        Raises as ``keep`` does; on error the file stays where it is.
        """
        with _refusing():
            kept = _synced(file)
            place = self.path(kept.sha256)
            self._make_folder(place.parent)
            file.rename(place)
            sync_folder(place.parent)
            return kept

    def discard_incoming(self) -> int:
        """Delete files that no one finished; only while nothing else writes. Returns how many."""
        files = list(self.incoming.iterdir())
        for file in files:
            file.unlink()
        return len(files)

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
            sync_folder(self.root)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn an ``OSError`` into the refusal that the sender gets."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace("the store is full: free space, or move data_dir") from error
        name = errno.errorcode.get(error.errno or 0, "unknown")
        raise ProcessingFailure(f"the store failed to write: {name}") from error


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on stable storage."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _synced(file: Path) -> Kept:
    digest = hashlib.sha256()
    size = 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        os.fsync(stream.fileno())
    return Kept(digest.hexdigest(), size)

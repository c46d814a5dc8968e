"""InstanceStore: what was received and what was made, on stable storage before anyone hears of it.

Layout: ``<root>/packs/<door>/`` for what comes by C-STORE (see ``receive.pack``; the ledger says
which instance lies where), ``<root>/ab/<sha256>`` for other files, ``<root>/incoming/<door>/`` for
those while they are written. No name comes from the wire.
"""

import errno
import hashlib
import io
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure
from dicom_node.domain.study import Instance

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT}


class EndsEarly(OSError):
    """A file is shorter than what should lie in it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file on stable storage."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A DICOM file in the store: a file of its own, or a part of a pack."""

    path: Path
    offset: int
    size: int
    expected: str = ""
    """The SHA-256 that it must have; empty: nobody knows."""

    @property
    def is_as_expected(self) -> bool:
        """Whether its bytes are those that were kept, as far as anybody knows."""
        try:
            return not self.expected or self.sha256() == self.expected
        except OSError:
            return False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.path.name}:{self.offset}" if self.offset else self.path.name

    def open(self, _mode: Literal["rb"] = "rb") -> io.BufferedReader:
        """It, and nothing else, to read and to seek in. Raises ``OSError``."""
        return io.BufferedReader(_Part(self))

    def chunks(self) -> Iterator[bytes]:
        """Its bytes. Raises ``OSError``."""
        with self.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def sha256(self) -> str:
        """Its hash. Raises ``OSError``."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


class _Part(io.RawIOBase):
    def __init__(self, file: StoredFile) -> None:
        self._handle = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        self._begin, self._size = file.offset, file.size
        self._position = 0
        self.name = file.name
        """pydicom asks for it."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        count = os.preadv(self._handle, [view], self._begin + self._position) if view else 0
        if count < 1 and view:
            raise EndsEarly(errno.EIO, "the file ends before the instance does")
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


class InstanceStore:
    """A folder of content-addressed files, private to the node's user.

    ``door`` names the part of ``incoming`` that this process writes to.
    """

    def __init__(self, root: Path, door: str = "any") -> None:
        self.root = root
        self.packs = root / "packs"
        self.incoming = root / "incoming" / door
        if not self.incoming.exists():
            make_folder(root)
            for place in self.places():
                place.mkdir(exist_ok=True, mode=0o700)
            make_folder(self.incoming)
            sync_folder(root)
        self._prefix = f"{self.incoming}/{os.getpid():x}-{time.time_ns():x}-"
        self._places = str(root)
        self._names = itertools.count()

    def new_file(self, suffix: str = "") -> tuple[int, str]:
        """A new file of ``incoming``, open for reading and writing, and its path."""
        path = f"{self._prefix}{next(self._names):x}{suffix}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def places(self) -> list[Path]:
        """The folders of the kept files."""
        return [self.root / f"{number:02x}" for number in range(256)]

    def path(self, sha256: str) -> Path:
        """Where the file of a hash lies, or would lie."""
        return self.root / sha256[:2] / sha256

    def file(self, instance: Instance) -> StoredFile:
        """Where a received instance lies."""
        sha256, size = instance.sha256, instance.size_bytes
        if not instance.pack:
            return StoredFile(self.path(sha256), 0, size, sha256)
        return StoredFile(self.packs / instance.pack, instance.pack_offset, size, sha256)

    def made(self, sha256: str, size: int) -> StoredFile:
        """Where a result lies."""
        return StoredFile(self.path(sha256), 0, size, sha256)

    def keep(self, chunks: Iterable[bytes | bytearray | memoryview]) -> Kept:
        """Write bytes and put them on stable storage.

        Raises ``OutOfSpace`` on a full disk, ``ProcessingFailure`` on any other I/O error; then
        nothing is left behind.
        """
        digest, size = hashlib.sha256(), 0
        with refusing():
            handle, path = self.new_file()
        try:
            with refusing(), os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    size += file.write(chunk)
                    digest.update(chunk)
                file.flush()
                os.fsync(file.fileno())
            faults.point("store.written")
            kept = Kept(digest.hexdigest(), size)
            self.move(path, kept)
            with refusing():
                sync_folder(self.path(kept.sha256).parent)
            faults.point("store.kept")
            return kept
        finally:
            Path(path).unlink(missing_ok=True)

    def move(self, file: str, kept: Kept) -> None:
        """Take over a file of ``incoming`` whose hash is known.

        Not on stable storage yet. Raises as ``keep`` does.
        """
        sha256 = kept.sha256
        with refusing():
            place = f"{self._places}/{sha256[:2]}/{sha256}"
            os.rename(file, place)  # noqa: PTH104 - for every image, and Path is slow


@contextmanager
def refusing() -> Iterator[None]:
    """Turn an ``OSError`` into the refusal that the sender gets."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace("the store is full: free space, or move data_dir") from error
        name = errno.errorcode.get(error.errno or 0, "unknown")
        raise ProcessingFailure(f"the store failed to write ({name}): check its disk") from error


def make_folder(folder: Path) -> None:
    """Make a folder that is private to us, and those above it, on stable storage."""
    missing = [above for above in folder.parents if not above.exists()]
    for each in (*reversed(missing), folder):
        each.mkdir(exist_ok=True, mode=0o700)
    for each in (folder, *missing):
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on stable storage."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

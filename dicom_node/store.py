"""InstanceStore: files named by their SHA-256, on stable storage before anyone hears of them.

Layout: ``<root>/incoming/<door>/`` for files being written, ``<root>/ab/<sha256>`` for kept ones.
No name comes from the wire.
"""

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node import faults
from dicom_node.domain.errors import OutOfSpace, ProcessingFailure

CHUNK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Kept:
    """A file on stable storage."""

    sha256: str
    size_bytes: int


class InstanceStore:
    """A folder of content-addressed files, private to the node's user.

    ``door`` names the part of ``incoming`` that this process writes to; one that is nobody else's
    may be emptied at the start.
    """

    def __init__(self, root: Path, door: str = "any") -> None:
        self.root = root
        self.incoming = root / "incoming" / door
        if not self.incoming.exists():
            for place in self.places():
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
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

    def copy(self, handle: int, offset: int, size: int, sha256: str | None = None) -> Kept:
        """Take over a part of an open file; it is not on stable storage yet.

        ``sha256`` spares the reading where it is known. Raises as ``keep`` does.
        """
        with refusing():
            temporary, path = self.new_file()
            try:
                sha256 = sha256 or _sha256(handle, offset, size)
                _copy_range(handle, offset, size, temporary)
                faults.point("store.copied")
                kept = Kept(sha256, size)
                self.move(path, kept)
            except OSError:
                Path(path).unlink(missing_ok=True)
                raise
            finally:
                os.close(temporary)
        return kept

    def adopt(self, file: Path) -> Kept:
        """Take over a finished file of ``incoming``, which stays there, too; not synced.

        Raises as ``keep`` does.
        """
        with refusing(), file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            kept = Kept(_sha256(stream.fileno(), 0, size), size)
        self.link(str(file), kept)
        return kept

    def link(self, file: str, kept: Kept) -> None:
        """Take over a file of ``incoming`` whose hash is known; it stays there, too.

        It may have been taken over and deleted already. Not on stable storage yet. Raises as
        ``keep`` does.
        """
        place = f"{self._places}/{kept.sha256[:2]}/{kept.sha256}"
        with refusing():
            try:
                os.link(file, place)
            except FileExistsError:
                twin = Path(f"{file}.twin")
                twin.unlink(missing_ok=True)
                twin.hardlink_to(file)
                twin.replace(place)
                twin.unlink(missing_ok=True)  # where both were one file already
            except FileNotFoundError:
                if not Path(place).exists():
                    raise

    def move(self, file: str, kept: Kept) -> None:
        """Take over a file of ``incoming`` whose hash is known.

        Not on stable storage yet. Raises as ``keep`` does.
        """
        sha256 = kept.sha256
        with refusing():
            place = f"{self._places}/{sha256[:2]}/{sha256}"
            os.rename(file, place)  # noqa: PTH104 - for every image, and Path is slow

    def discard_incoming(self) -> int:
        """Delete files that no one finished, from a door that is ours alone. Returns how many."""
        files = list(self.incoming.iterdir())
        for file in files:
            file.unlink()
        return len(files)


@contextmanager
def refusing() -> Iterator[None]:
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


def _sha256(handle: int, offset: int, size: int) -> str:
    """Hash of a part of a file."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(size, CHUNK)))
    while size:
        count = os.preadv(handle, [buffer[: min(size, CHUNK)]], offset)
        if count == 0:
            raise OSError(errno.EIO, "the file ends before the instance does")
        digest.update(buffer[:count])
        offset, size = offset + count, size - count
    return digest.hexdigest()


def _copy_range(source: int, offset: int, size: int, target: int) -> None:
    """Copy inside the system, without passing through this process."""
    while size:
        count = os.copy_file_range(source, target, size, offset)
        if count == 0:
            raise OSError(errno.EIO, "the file ends before the instance does")
        offset, size = offset + count, size - count

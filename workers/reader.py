"""Reads stored images by a process of its own, for what a sender wrote may be meant to do harm.

That process parses and decodes, with little memory and little time (``image_reader``). What comes
back is measured before this process looks at it: pixels go to places that are there already, and
headers, which are parsed here once more, have room that ends.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UndecodablePixels, UnreadableDataset
from dicom_node.receive.dataset import check_structure
from dicom_node.sandbox import ChildDied, Sandbox
from dicom_node.store import StoredFile
from workers.pixels import refusal

ELEMENT, ITEM = 1024, 4096
"""Bytes that pydicom needs at most beside the value of an element; of an item or a header."""
ROOM = 1 << 30
ImageFile = Path | StoredFile


@dataclass
class Room:
    """What the headers of one series may still take in this process, in bytes."""

    left: int = ROOM

    def take(self, size: int) -> None:
        """Raises UndecodablePixels (HEADER_LIMIT)."""
        self.left -= size
        if self.left < 0:
            raise UndecodablePixels(
                "the headers hold more than this node may read", code="HEADER_LIMIT"
            )


@dataclass
class ImageReader:
    """Starts its process at the first image, and again after each death. For one thread."""

    module: str = "workers.image_reader"
    memory_mib: int = 4096
    timeout_s: float = 120.0
    """For one header, or one batch of frames."""
    _sandbox: Sandbox | None = None
    _shared: int = -1
    """A file in memory, which the other process writes and this one reads."""

    def header(self, file: ImageFile, room: Room) -> Dataset:
        """All but the pixels, without what nobody here needs (see ``image_reader.kept``).

        Raises UndecodablePixels (UNPARSEABLE, HEADER_LIMIT, ALTERED).
        """
        try:
            said = self._ask("header", file)
        except ChildDied as died:
            raise refusal(file.name, "HEADER_LIMIT") from died
        if "refused" in said:
            raise refusal(file.name, said["refused"])
        room.take(said["size"])
        data, encoding = bytearray(said["size"]), (said["implicit"], said["little"])
        self._take(memoryview(data), 0)
        try:
            elements, items = check_structure(data, implicit=encoding[0], little=encoding[1])
        except UnreadableDataset as error:
            raise refusal(file.name, "UNPARSEABLE") from error
        room.take(ELEMENT * elements + ITEM * (items + 1))
        return read_dataset(BytesIO(data), *encoding)

    def fill(self, planes: Sequence[FloatArray], file: ImageFile, uid: str) -> None:
        """Write the frames of an image into ``planes``, each (rows, columns).

        Raises UndecodablePixels, with codes as ``pixels.planes``, and ALTERED.
        """
        ask, done, is_last = "begin", 0, False
        while not is_last:
            count, is_last = self._batch(ask, file, uid)
            if not 0 < count <= len(planes) - done and not (is_last and count == 0):
                raise refusal(uid, "FRAME_COUNT")
            position = 0
            for plane in planes[done : done + count]:
                self._take(plane.data.cast("B"), position)
                position += plane.nbytes
            ask, done = "go on", done + count
        if done < len(planes):
            raise refusal(uid, "FRAME_COUNT")

    def close(self) -> None:
        """End the process."""
        if self._sandbox is not None:
            self._sandbox.close()
            os.close(self._shared)
        self._sandbox = None

    def _batch(self, ask: str, file: ImageFile, uid: str) -> tuple[int, bool]:
        try:
            said = self._ask(ask, file)
        except ChildDied as died:
            raise refusal(uid, "DECODER") from died
        if "refused" in said:
            raise refusal(uid, said["refused"])
        return said["count"], said["last"]

    def _ask(self, what: str, file: ImageFile) -> Any:
        if self._sandbox is None:
            self._shared = os.memfd_create("images")
            self._sandbox = Sandbox(
                self.module,
                memory_mib=self.memory_mib,
                timeout_s=self.timeout_s,
                files=[self._shared],
            )
        place = file if isinstance(file, StoredFile) else StoredFile(file, 0, file.stat().st_size)
        request = {"path": str(place.path), "offset": place.offset, "size": place.size}
        expected = {"sha256": place.expected}
        return self._sandbox.ask({"ask": what, "into": self._shared, **request, **expected})

    def _take(self, target: memoryview, position: int) -> None:
        while target and (count := os.preadv(self._shared, [target], position)):
            target, position = target[count:], position + count
        if target:
            raise ChildDied("the reading process wrote less than it said")


READER = ImageReader()

"""FakePacs: a small archive in this process, for the demo and for tests. Not for patients' data."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from dicom_node.redis_server import free_port


@dataclass(frozen=True, slots=True)
class Received:
    """One object that the archive took."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    size_bytes: int
    at: float
    """Monotonic time, in seconds."""

    @property
    def sop_class(self) -> str:
        """The name of the SOP class."""
        return UID(self.sop_class_uid).name


class FakePacs:
    """Takes every storage class; ``answer`` may give another status than success."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ARCHIVE",
        answer: Callable[[Event], int] = lambda _: 0x0000,
    ) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.host, self.port = "127.0.0.1", free_port()
        self.received: list[Received] = []
        self._answer = answer
        self._server: Any = None

    def __enter__(self) -> "FakePacs":
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(self.ae_title)
        entity.add_supported_context(Verification)
        for uid in _STORAGE_CLASSES.values():
            entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        entity.require_called_aet = True
        handlers: list[Any] = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server(
            (self.host, self.port), block=False, evt_handlers=handlers
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _keep(self, event: Event) -> int:
        status = self._answer(event)
        if status == 0:
            request: Any = event.request
            path = self.folder / f"{len(self.received) + 1:04d}.dcm"
            path.write_bytes(event.encoded_dataset())
            self.received.append(
                Received(
                    path,
                    str(request.AffectedSOPInstanceUID),
                    str(request.AffectedSOPClassUID),
                    path.stat().st_size,
                    time.monotonic(),
                )
            )
        return status

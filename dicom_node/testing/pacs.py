"""FakePacs: a small archive in this process, for the demo and for tests. Not for patients' data."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from dicom_node.redis_server import free_port
from dicom_node.send.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

NO_SUCH_OBJECT = 0x0112


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
    """Takes every storage class; ``answer`` may give another status than success.

    ``commits``: to what it has, at once and on the association of the question (PS3.4 Annex J).
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ARCHIVE",
        answer: Callable[[Event], int] = lambda _: 0x0000,
        commits: bool = False,
    ) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.host, self.port = "127.0.0.1", free_port()
        self.received: list[Received] = []
        self._answer = answer
        self._commits = commits
        self._server: Any = None

    def __enter__(self) -> "FakePacs":
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(self.ae_title)
        entity.add_supported_context(Verification)
        for uid in _STORAGE_CLASSES.values():
            entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        if self._commits:
            entity.add_supported_context(PUSH_MODEL)
        entity.require_called_aet = True
        handlers: list[Any] = [(evt.EVT_C_STORE, self._keep), (evt.EVT_N_ACTION, self._commit)]
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

    def _commit(self, event: Event) -> tuple[int, None]:
        report = self._report(event.action_information)
        send = event.assoc.send_n_event_report
        threading.Thread(target=send, args=report, name="report", daemon=True).start()
        return 0x0000, None

    def _report(self, asked: Dataset) -> tuple[Dataset, int, str, str]:
        """Of an N-EVENT-REPORT (PS3.4 Table J.3-3)."""
        known = {received.sop_instance_uid for received in self.received}
        items = list(asked.ReferencedSOPSequence)
        failed = [item for item in items if item.ReferencedSOPInstanceUID not in known]
        for item in failed:
            item.FailureReason = NO_SUCH_OBJECT
        data = Dataset()
        data.TransactionUID = asked.TransactionUID
        data.ReferencedSOPSequence = [item for item in items if item not in failed]
        if failed:
            data.FailedSOPSequence = failed
        return data, 2 if failed else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE

"""The listener: a DICOM AE that answers C-ECHO and C-STORE (PS3.4 Annexes A and B)."""

import tempfile
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.events import Event

from dicom_node.domain.errors import LedgerBusy, Refused
from dicom_node.ledger import Ledger, Recording
from dicom_node.observe import log
from dicom_node.receive.admission import check_command, identify, supported_contexts
from dicom_node.receive.intake import Intake
from dicom_node.settings import Listen
from dicom_node.store import InstanceStore

SUCCESS, INTERNAL, LEDGER_BUSY = 0x0000, 0x0110, 0xA700
MAX_PDU = 128 * 1024


class Listener:
    """Accepts associations until it is stopped."""

    def __init__(self, settings: Listen, store: InstanceStore, ledger: Ledger) -> None:
        self._settings = settings
        self._intake = Intake(store, ledger)
        self._log = log("listen")
        self._incoming = store.incoming
        self._server: Any = None

    def start(self) -> int:
        """Bind and serve in the background; returns the port."""
        _config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(self._incoming)  # where pynetdicom streams data sets to
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_ACCEPTED, self._on_accepted),
        ]
        address = (self._settings.host, self._settings.port)
        self._server = self._entity().start_server(address, block=False, evt_handlers=handlers)
        port = int(self._server.server_address[1])
        self._log.info("listen.ready", host=self._settings.host, port=port)
        return port

    def stop(self) -> None:
        """Stop accepting; associations that run are aborted."""
        if self._server is not None:
            self._server.shutdown()

    def _entity(self) -> AE:
        entity = AE(self._settings.ae_title)
        entity.supported_contexts = supported_contexts()
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._settings.callers)
        entity.maximum_associations = self._settings.max_associations
        entity.maximum_pdu_size = MAX_PDU
        entity.network_timeout = 60
        entity.acse_timeout = 10
        entity.dimse_timeout = 60
        return entity

    def _on_store(self, event: Event) -> int:
        path = Path(event.dataset_path)
        fields = {"peer": event.assoc.requestor.address, "sop_class": _class_of(event)}
        try:
            recording = self._keep(event, path)
        except Refused as refusal:
            self._log.warning(
                "store.reject", reason=refusal.code, status=f"{refusal.status:04X}", **fields
            )
            return refusal.status
        except LedgerBusy as busy:
            self._log.warning("store.reject", reason=busy.code, status="A700", **fields)
            return LEDGER_BUSY
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            self._log.error("store.reject", reason="INTERNAL", status="0110", exc_info=error)
            return INTERNAL
        finally:
            path.unlink(missing_ok=True)
        if recording is not Recording.NEW:
            self._log.info("store.note", reason=recording.value, **fields)
        return SUCCESS

    def _keep(self, event: Event, path: Path) -> Recording:
        identity = identify(path)
        request: Any = event.request
        check_command(
            identity, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        )
        return self._intake.keep(path, identity, event.assoc.requestor.ae_title.strip())

    def _on_echo(self, event: Event) -> int:
        self._log.debug("echo", peer=event.assoc.requestor.address)
        return SUCCESS

    def _on_rejected(self, event: Event) -> None:
        self._log.warning("assoc.reject", peer=event.assoc.requestor.address)

    def _on_accepted(self, event: Event) -> None:
        for context in event.assoc.rejected_contexts:
            self._log.warning(
                "assoc.note",
                reason="NO_CONTEXT" if context.result == 3 else "NO_SYNTAX",
                peer=event.assoc.requestor.address,
                sop_class=UID(context.abstract_syntax or "").name,
            )


def _class_of(event: Event) -> str:
    request: Any = event.request
    return UID(str(request.AffectedSOPClassUID)).name

"""MPPS and Instance Availability Notification SCP: what others say that a study will hold.

What they say is kept as expectations (``completeness`` judges by them); nothing else of it is. The
data set is checked like every other, then read in a child that may die of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from dicom_node.domain.errors import LedgerBusy, Refused
from dicom_node.domain.uid import uuid_uid
from dicom_node.ledger import Ledger
from dicom_node.ledger.expectations import Change, Source
from dicom_node.observe import log
from dicom_node.receive.arriving import sender_of
from dicom_node.receive.dataset import checked_uid
from dicom_node.receive.reading import (
    FAILURE,
    INVALID_VALUE,
    RESOURCES,
    SUCCESS,
    NoticeReader,
    NoticeRefused,
    valid_uid,
)
from dicom_node.settings.completeness import Notice

MPPS = "1.2.840.10008.3.1.2.3.3"
IAN = "1.2.840.10008.5.1.4.33"
CLASSES: Mapping[Notice, str] = {"MPPS": MPPS, "IAN": IAN}
MISSING, DUPLICATE, NO_SUCH_INSTANCE = 0x0120, 0x0111, 0x0112
"""PS3.7 annex C."""
STARTED, FINISHED = {"IN PROGRESS"}, {"COMPLETED", "DISCONTINUED"}

Answer = tuple[int, Dataset | None]


@dataclass(frozen=True, slots=True)
class Said:
    """What a notice says; none: it does not say."""

    studies: tuple[str, ...]
    status: str | None
    instances: frozenset[str] | None


class Notices:
    """Takes notices; called from the threads of the library."""

    def __init__(
        self, ledger: Ledger, reader: NoticeReader, refusal: Callable[[], Refused | None]
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._refusal = refusal
        self._log = log("listen")

    def on_create(self, event: Event) -> Answer:
        """N-CREATE of either (PS3.4 sections F.7.2.1 and R.3.2)."""
        request: Any = event.request
        raw = request.AttributeList.getvalue() if request.AttributeList else b""
        given, created = request.AffectedSOPInstanceUID, Dataset()
        if given is None:  # then we name it (PS3.7 section 10.1.5.1.4)
            created.AffectedSOPInstanceUID = uuid_uid(f"notice {sha256(raw).hexdigest()}")
        uid = str(given or created.AffectedSOPInstanceUID)
        take = self._begin if event.context.abstract_syntax == MPPS else self._available
        return self._status(
            event, lambda: take(checked_uid(uid.encode()), self._read(event, raw))
        ), created

    def on_set(self, event: Event) -> Answer:
        """N-SET of an MPPS (PS3.4 section F.7.2.2)."""
        request: Any = event.request
        raw = request.ModificationList.getvalue() if request.ModificationList else b""
        uid = str(request.RequestedSOPInstanceUID).encode()
        return self._status(
            event, lambda: self._go_on(checked_uid(uid), self._read(event, raw))
        ), None

    def _status(self, event: Event, take: Callable[[], None]) -> int:
        try:
            if refusal := self._refusal():
                raise NoticeRefused("nothing is taken", code=refusal.code, status=RESOURCES)
            take()
        except Refused as refusal:
            return self._refuse(event, refusal.code, refusal.status)
        except LedgerBusy as busy:
            return self._refuse(event, busy.code, RESOURCES)
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            self._log.error("listen.failed", reason="INTERNAL", exc_info=error)
            return self._refuse(event, "INTERNAL", FAILURE)
        return SUCCESS

    def _refuse(self, event: Event, code: str, status: int) -> int:
        about = {"status": f"{status:04X}", **sender_of(event)}
        self._log.warning("notice.reject", reason=code, **about)
        return status

    def _read(self, event: Event, raw: bytes) -> Said:
        said = self._reader.read("notice", event.context.transfer_syntax, raw)
        named = said["instances"]
        instances = None if named is None else frozenset(map(valid_uid, named))
        return Said(tuple(map(valid_uid, said["studies"])), said["status"], instances)

    def _begin(self, uid: str, said: Said) -> None:
        """A performed step of several studies does not say which image is whose: nothing is
        expected of it, but it is known, so that its end is answered."""
        if said.status not in STARTED:
            raise NoticeRefused(
                "a step begins IN PROGRESS", code="MPPS_STATE", status=INVALID_VALUE
            )
        study = said.studies[0] if len(said.studies) == 1 else ""
        self._announce(Source.MPPS, uid, study, said, final=False)

    def _available(self, uid: str, said: Said) -> None:
        study = said.studies[0] if said.studies else ""
        self._announce(Source.IAN, uid, study, said, final=True)

    def _announce(self, source: Source, uid: str, study: str, said: Said, *, final: bool) -> None:
        if not said.studies:
            raise NoticeRefused("it names no study", code="UID_MISSING", status=MISSING)
        named = said.instances or frozenset()
        if not self._ledger.expectations.announce(source, uid, study, named, final=final):
            raise NoticeRefused("it is known already", code="DUP_SAME", status=DUPLICATE)
        self._tell(source, uid, len(named), study)

    def _go_on(self, uid: str, said: Said) -> None:
        if said.status not in {None} | STARTED | FINISHED:
            raise NoticeRefused("no such state", code="MPPS_STATE", status=INVALID_VALUE)
        done = self._ledger.expectations.change(
            Source.MPPS, uid, said.instances, final=said.status in FINISHED
        )
        if done is Change.UNKNOWN:
            raise NoticeRefused("no such step", code="MPPS_UNKNOWN", status=NO_SUCH_INSTANCE)
        if done is Change.CLOSED:
            raise NoticeRefused("the step has ended", code="MPPS_STATE", status=FAILURE)
        self._tell(Source.MPPS, uid, len(said.instances or ()), "")

    def _tell(self, source: Source, uid: str, count: int, study: str) -> None:
        self._log.info("notice.taken", kind=source.value, sop=uid, count=count, study=study)

"""The data sets of notices and reports, read in a child that may die of them."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydicom.uid import UID

from dicom_node.domain.errors import InvalidUID, Refused, UnreadableDataset
from dicom_node.receive.dataset import check_structure, checked_uid
from dicom_node.sandbox import ChildDied, Sandbox

SUCCESS, FAILURE, RESOURCES, INVALID_VALUE = 0x0000, 0x0110, 0x0213, 0x0106
"""PS3.7 annex C."""
MEMORY_MIB, TIMEOUT_S = 512, 10.0


class NoticeRefused(Refused):
    """The sender of a notice gets ``status`` as the answer."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message, code=code)
        self.status = status


class NoticeReader:
    """Checks a data set like every other, then has it read; for any thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "notices")
        """Of the child, which dies with the thread that starts it."""
        self._child = Sandbox(
            "dicom_node.receive.notice_reader", memory_mib=MEMORY_MIB, timeout_s=TIMEOUT_S
        )

    def close(self) -> None:
        """End the child."""
        self._thread.submit(self._child.close).result()
        self._thread.shutdown()

    def read(self, what: str, syntax: UID, raw: bytes) -> dict[str, Any]:
        """What ``notice_reader`` finds in it. Raises ``NoticeRefused``."""
        encoding = {"implicit": syntax.is_implicit_VR, "little": syntax.is_little_endian}
        request = {"what": what, "data": base64.b64encode(raw).decode(), **encoding}
        try:
            check_structure(raw, **encoding)
            said = self._thread.submit(self._child.ask, request).result()
        except (UnreadableDataset, ChildDied) as bad:
            raise NoticeRefused("it cannot be read", code=bad.code, status=FAILURE) from bad
        if said is None:
            raise NoticeRefused("it cannot be read", code="UNPARSEABLE", status=FAILURE)
        return dict(said)


def valid_uid(text: str, status: int = INVALID_VALUE) -> str:
    """A UID that a data set names. Raises ``NoticeRefused`` with the status."""
    try:
        return checked_uid(str(text).encode("ascii", "replace"))
    except InvalidUID as error:
        raise NoticeRefused(str(error), code=error.code, status=status) from None

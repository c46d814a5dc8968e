"""Every error of the node; its type decides the fate of the work, its code names the reason.

::

    DicomNodeError
    ├ ConfigurationError   stop, exit status 2
    ├ Refused(status)      answer the sender with a DIMSE status
    │ ├ UnreadableDataset    0xC000  cannot understand
    │ ├ DatasetMismatch      0xA900  the data set does not match the SOP class or the command
    │ ├ InvalidUID           0x0117  invalid SOP instance UID
    │ ├ UnsupportedSOPClass  0x0122  SOP class not supported
    │ ├ UnsupportedSyntax    0xC122  transfer syntax not supported (PS3.18 Table I.2-2)
    │ ├ OutOfSpace           0xA700  out of resources
    │ └ ProcessingFailure    0x0110  processing failure
    ├ Transient            try again: PeerUnreachable, BrokerUnavailable, LedgerBusy, StoreHeld,
    │                      CannotListen, DeviceOutOfMemory
    ├ Unusable             quarantine, and keep the evidence
    │ ├ IncompleteStudy, UnsupportedGeometry, UndecodablePixels   the images are to blame
    │ └ UnusableOutput                                            the model is
    ├ ModelRefused         fail until the installation is mended: CorruptBundle, UnsupportedModel
    ├ DeliveryRefused      the peer's final no, with its status
    └ LedgerConflict       someone else has it: skip

A message says what failed, for which UID, and what to do next. It holds UIDs and reason codes
only, never a patient's data or a header's value. ``code`` is the reason code that logs, the
ledger and the web page show (status values: PS3.4 Table B.2-1, PS3.7 Annex C).
"""


class DicomNodeError(Exception):
    """Anything this node raises on purpose."""

    code = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigurationError(DicomNodeError):
    """The settings or the installation do not allow to start."""

    code = "CONFIGURATION"


class Refused(DicomNodeError):
    """The sender gets ``status`` as the answer to its C-STORE."""

    code = "REFUSED"
    status = 0x0110


class UnreadableDataset(Refused):
    """Not a DICOM data set in the negotiated transfer syntax."""

    code = "UNPARSEABLE"
    status = 0xC000


class DatasetMismatch(Refused):
    """The data set contradicts the command that carried it."""

    code = "UID_MISMATCH"
    status = 0xA900


class InvalidUID(Refused):
    """A UID breaks PS3.5 section 9.1."""

    code = "UID_INVALID"
    status = 0x0117


class UnsupportedSOPClass(Refused):
    """Not an instance of a storage SOP class that the node knows."""

    code = "NO_CONTEXT"
    status = 0x0122


class UnsupportedSyntax(Refused):
    """Encoded in a transfer syntax that this install cannot decode."""

    code = "NO_SYNTAX"
    status = 0xC122


class OutOfSpace(Refused):
    """No room to keep the instance safely."""

    code = "NO_SPACE"
    status = 0xA700


class ProcessingFailure(Refused):
    """The node failed, not the data; the sender should try again."""

    code = "STORAGE_IO"
    status = 0x0110


class Transient(DicomNodeError):
    """Worth another try without anyone's help."""

    code = "TRANSIENT"


class PeerUnreachable(Transient):
    """A DICOM peer did not answer, or not in time."""

    code = "PEER_UNREACHABLE"


class BrokerUnavailable(Transient):
    """Redis did not take the ring; the sweep rings again."""

    code = "BROKER_UNAVAILABLE"


class LedgerBusy(Transient):
    """The ledger stayed locked for longer than its time-out, or its disk takes nothing."""

    code = "LEDGER_BUSY"


class StoreHeld(Transient):
    """Another process writes to this part of the store."""

    code = "STORE_HELD"


class CannotListen(Transient):
    """The address is taken, is none of this machine, or is not for this user."""

    code = "CANNOT_LISTEN"


class DeviceOutOfMemory(Transient):
    """The model did not fit into the memory that was free."""

    code = "DEVICE_MEMORY"


class Unusable(DicomNodeError):
    """No further try will help: the images are not what the analysis needs."""

    code = "UNUSABLE"


class IncompleteStudy(Unusable):
    """Images that the model needs are missing."""

    code = "INCOMPLETE"


class UnsupportedGeometry(Unusable):
    """The images do not form a regular volume (PS3.3 C.7.6.2)."""

    code = "GEOMETRY"


class UndecodablePixels(Unusable):
    """No decoder of this install reads the pixel data."""

    code = "DECODER"


class UnusableOutput(Unusable):
    """A model answered with no numbers, or not in the shape that its manifest promises."""

    code = "MODEL_OUTPUT"


class ModelRefused(DicomNodeError):
    """The node cannot use this model; no study of it is read until that is mended."""

    code = "MODEL"


class CorruptBundle(ModelRefused):
    """A model bundle is not what its checksums say, or not allowed to be loaded."""

    code = "BUNDLE"


class UnsupportedModel(ModelRefused):
    """A model cannot be run or explained as its manifest asks."""


class DeliveryRefused(DicomNodeError):
    """The destination said no for good; ``status`` is its DIMSE status."""

    code = "DELIVERY_REFUSED"

    def __init__(self, message: str, *, status: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class LedgerConflict(DicomNodeError):
    """The row has moved on: another process holds it or has finished it."""

    code = "CONFLICT"

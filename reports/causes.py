"""Why there is no result: reason codes of the node as coded outcome, coded cause and sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from reports.language import N_

NOT_ATTEMPTED = codes.cid6042.NotAttempted
FAILED = codes.cid6042.Failed
"""CID 6042 Status of Results."""
NOT_SUPPORTED = Code("110522", "DCM", "Object Types not supported")
INCORRECT = Code("110521", "DCM", "Objects incorrectly formatted")
INCOMPLETE = Code("110523", "DCM", "Object Set incomplete")
RESOURCE = Code("110527", "DCM", "Resource inadequate")
EQUIPMENT = Code("110501", "DCM", "Equipment failure")
"""CID 9300 Procedure Discontinuation Reason."""
SOFTWARE = codes.cid6135.SoftwareFailure
"""CID 6135 Reason for Failure."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason code, said in DICOM's codes and in words."""

    outcome: Code
    code: Code
    words: str


_NOT_ELIGIBLE: Mapping[str, tuple[Code, str]] = {
    "NO_MODEL": (NOT_SUPPORTED, N_("No model of this node reads this kind of study.")),
    "UNSUPPORTED": (NOT_SUPPORTED, N_("The images are of a kind that the model cannot read.")),
    "GEOMETRY": (NOT_SUPPORTED, N_("The images form no regular volume.")),
    "DECODER": (NOT_SUPPORTED, N_("No decoder of this node reads the pixel data.")),
    "INCOMPLETE": (INCOMPLETE, N_("Images that the analysis needs are missing.")),
    "SLICE_SET": (INCOMPLETE, N_("The images of the series do not fit together.")),
    "UID_CONFLICT": (INCORRECT, N_("One image arrived twice with different content.")),
    "UNPARSEABLE": (INCORRECT, N_("Images cannot be read as DICOM.")),
    "VALUE": (INCORRECT, N_("A header value that the analysis needs is not usable.")),
    "FRAME_COUNT": (INCORRECT, N_("The pixel data contradict the header.")),
    "PIXEL_LENGTH": (INCORRECT, N_("The pixel data contradict the header.")),
    "PIXEL_ATTR": (INCORRECT, N_("The pixel data contradict the header.")),
    "PIXEL_LIMIT": (RESOURCE, N_("The series has more pixels than this node may read.")),
    "HEADER_LIMIT": (RESOURCE, N_("The images' headers are larger than this node may read.")),
    "UNUSABLE": (NOT_SUPPORTED, N_("The images cannot be analysed.")),
}
_FAILED: Mapping[str, tuple[Code, str]] = {
    "MEMORY": (RESOURCE, N_("The node ran out of memory.")),
    "DEVICE_MEMORY": (RESOURCE, N_("The node ran out of memory.")),
    "ALTERED": (EQUIPMENT, N_("Stored images are not as they were received.")),
    "TIME_LIMIT": (RESOURCE, N_("The analysis took longer than it may.")),
    "BUNDLE_GONE": (SOFTWARE, N_("The model is not installed any more.")),
}


_UNKNOWN = (SOFTWARE, N_("The cause is in the node, not in the study."))


def cause(reason: str) -> Cause:
    """What a reason code of a job or a study means; an unknown one is a failure of the node."""
    if reason in _NOT_ELIGIBLE:
        return Cause(NOT_ATTEMPTED, *_NOT_ELIGIBLE[reason])
    return Cause(FAILED, *_FAILED.get(reason, _UNKNOWN))

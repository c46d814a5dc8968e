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


_ORIGINAL = N_("If a result is wanted, send an original series of a kind that the model reads.")
_COMPLETE = N_("Send the complete original series: the study is then analysed once more by itself.")
_CORRECT = N_("Correct the images at their source, then send the study again.")
_RUNNERS = N_(
    "Tell those who run the node: they find the cause in its log, and order the analysis again "
    "on its page."
)
"""What to do about several causes."""
_NO_DECODER = (
    NOT_SUPPORTED,
    N_("No decoder of this node reads the pixel data."),
    N_("If a result is wanted, send the images in an encoding that this node reads."),
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason code, said in DICOM's codes and in words."""

    outcome: Code
    code: Code
    words: str
    advice: str
    """What to do, where anybody wants the result."""


_NOT_ELIGIBLE: Mapping[str, tuple[Code, str, str]] = {
    "NO_MODEL": (
        NOT_SUPPORTED,
        N_("No model of this node reads this kind of study."),
        N_("Nothing, if that is intended; else ask those who run the node for a model."),
    ),
    "UNSUPPORTED": (
        NOT_SUPPORTED,
        N_("The images are of a kind that the model cannot read."),
        _ORIGINAL,
    ),
    "GEOMETRY": (
        NOT_SUPPORTED,
        N_("The images form no regular volume."),
        N_("If a result is wanted, send an original series with evenly spaced, upright slices."),
    ),
    "DECODER": _NO_DECODER,
    "NO_SYNTAX": _NO_DECODER,
    "INCOMPLETE": (INCOMPLETE, N_("Images that the analysis needs are missing."), _COMPLETE),
    "SLICE_SET": (INCOMPLETE, N_("The images of the series do not fit together."), _COMPLETE),
    "UID_CONFLICT": (
        INCORRECT,
        N_("One image arrived twice with different content."),
        N_("Find out which system changed the image without giving it a new UID."),
    ),
    "PATIENT_MIX": (
        INCORRECT,
        N_("The images name more than one patient."),
        N_("Correct the patient at the modality or in the archive, then send the study again."),
    ),
    "UNPARSEABLE": (INCORRECT, N_("Images cannot be read as DICOM."), _CORRECT),
    "VALUE": (
        INCORRECT,
        N_("A header value that the analysis needs is not usable."),
        _CORRECT,
    ),
    "FRAME_COUNT": (INCORRECT, N_("The pixel data contradict the header."), _CORRECT),
    "PIXEL_LENGTH": (INCORRECT, N_("The pixel data contradict the header."), _CORRECT),
    "PIXEL_ATTR": (INCORRECT, N_("The pixel data contradict the header."), _CORRECT),
    "PIXEL_LIMIT": (
        RESOURCE,
        N_("The series has more pixels than this node may read."),
        N_("If a result is wanted, send a series with fewer images."),
    ),
    "HEADER_LIMIT": (
        RESOURCE,
        N_("The images' headers are larger than this node may read."),
        _CORRECT,
    ),
    "UNUSABLE": (NOT_SUPPORTED, N_("The images cannot be analysed."), _ORIGINAL),
}
_FAILED: Mapping[str, tuple[Code, str, str]] = {
    "MEMORY": (RESOURCE, N_("The node ran out of memory."), _RUNNERS),
    "DEVICE_MEMORY": (RESOURCE, N_("The node ran out of memory."), _RUNNERS),
    "ALTERED": (
        EQUIPMENT,
        N_("Stored images are not as they were received."),
        N_("Have the study sent again; those who run the node must look at its disk."),
    ),
    "TIME_LIMIT": (RESOURCE, N_("The analysis took longer than it may."), _RUNNERS),
    "MODEL_OUTPUT": (
        SOFTWARE,
        N_("The model gave no usable answer to these images."),
        N_("Tell those who run the node, and the maker of the model."),
    ),
    "BUNDLE_GONE": (SOFTWARE, N_("The model is not installed any more."), _RUNNERS),
}


_UNKNOWN = (SOFTWARE, N_("The cause is in the node, not in the study."), _RUNNERS)


def cause(reason: str) -> Cause:
    """What a reason code of a job or a study means; an unknown one is a failure of the node."""
    if reason in _NOT_ELIGIBLE:
        return Cause(NOT_ATTEMPTED, *_NOT_ELIGIBLE[reason])
    return Cause(FAILED, *_FAILED.get(reason, _UNKNOWN))

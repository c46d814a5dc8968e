"""The side of the body that an answer is about: of one place, so that all results name the same."""

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.asked import Asked
from dicom_node.domain.findings import Answer, Finding
from dicom_node.domain.images import SourceImages
from reports.language import N_, _
from reports.planes import functional_group
from reports.terms import term

SIDES = {"L": codes.SCT.Left, "R": codes.SCT.Right, "B": codes.SCT.Bilateral}
"""CID 244, by the values of Laterality, Image Laterality and Frame Laterality."""
WORDS = {
    "7771000": N_("left"),
    "24028007": N_("right"),
    "51440002": N_("both sides"),
    "66459002": N_("one side"),
}
"""Within a sentence, by code value."""


def asked_of(answer: Answer) -> Asked | None:
    """What the manifest asked for; of an image that a model made, nothing."""
    if isinstance(answer, Finding):
        return answer.target
    return answer.quantity or answer.outlined


def side_of(images: SourceImages, answer: Answer) -> Code | None:
    """As the model states it, else as the key image does, where it shows one side alone."""
    asked = asked_of(answer)
    if asked is not None and asked.laterality is not None:
        return asked.laterality.code
    return SIDES.get(stated_side(images, answer.frame))


def side_word(images: SourceImages, answer: Answer) -> str:
    """``left`` in the language that is spoken; empty where nobody states a side."""
    side = side_of(images, answer)
    return word_of(side) if side else ""


def word_of(side: Code) -> str:
    """A side in the language that is spoken."""
    return _(WORDS[side.value]) if side.value in WORDS else term(side.meaning)


def stated_side(images: SourceImages, frame: int) -> str:
    """``L``, ``R`` or ``B`` of the image of a frame; empty where it states none."""
    shown = images.frames[frame]
    headers = (h for h in images.datasets if h.SOPInstanceUID == shown.sop_instance_uid)
    header = next(headers, Dataset())
    anatomy = functional_group(header, shown.frame_number or 1, "FrameAnatomySequence")
    stated = anatomy.get("FrameLaterality") or header.get("ImageLaterality")
    return str(stated or header.get("Laterality") or "")

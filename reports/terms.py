"""Texts that come from elsewhere and that the catalogues know: code meanings, reasons, checks.

What is not listed here, a model's own words above all, stays as its author wrote it.
"""

import re

from reports import trust_terms
from reports.language import N_, _, quantity, spoken

_TERMS = (
    # reports.settings
    N_("AI, not for diagnostic use"),
    N_("Made by artificial intelligence. Research only, not for diagnostic use."),
    # findings and sites of manifests
    N_("Lesion"),
    N_("Nodule"),
    N_("Mass"),
    N_("Cyst"),
    N_("Neoplasm"),
    N_("Hemorrhage"),
    N_("Fracture"),
    N_("Pneumothorax"),
    N_("Pleural effusion"),
    N_("Body"),
    N_("Entire body"),
    N_("Trunk"),
    N_("Head"),
    N_("Brain"),
    N_("Chest"),
    N_("Lung"),
    N_("Breast"),
    N_("Abdomen"),
    N_("Liver"),
    N_("Kidney"),
    N_("Spleen"),
    N_("Pelvis"),
    # measurements
    N_("Volume"),
    N_("Long axis"),
    N_("Short axis"),
    N_("Length"),
    N_("Mean"),
    N_("Standard Deviation"),
    # methods (CID 217)
    N_("Gradient-weighted class activation"),
    N_("Class activation"),
    N_("Saliency"),
    # routing
    N_("fits"),
    N_("fits, but another series has more images"),
    N_("its headers cannot be read"),
    N_("holds no images"),
    N_("missing"),
    N_("AXIAL"),
    N_("CORONAL"),
    N_("SAGITTAL"),
    N_("OBLIQUE"),
    N_("MIXED"),
    # checks of explanations
    N_("Evidence inside the outline"),
)
_TEMPLATES = (
    N_("{} of its headers cannot be read"),
    N_("modality {}, not {}"),
    N_("SOP class {}, not {}"),
    N_("orientation {}, not {}"),
    N_("{} images, fewer than {}"),
    N_("{} images, more than {}"),
    N_("{} or {}"),
    N_("The model read the middle {} of each image; what lies outside was not searched."),
    N_(
        "1 place was outlined as {} in slices whose probability stays below the operating "
        "point; not reported."
    ),
    N_(
        "{} places were outlined as {} in slices whose probability stays below the operating "
        "point; not reported."
    ),
    N_("1 place was outlined as {}, too small to be one; not reported."),
    N_("{} places were outlined as {}, too small to be one; not reported."),
    N_("Only {} of {} key slices are shown; the table lists all findings."),
    N_("Invalid header values of the source were repaired in the results: {}."),
    N_("The source lacks attributes that every image must have: {}."),
    N_("{} lies outside of the range that the model was trained on: {} to {} {}."),
)
"""With blanks for what differs."""
_QUOTING = {
    N_("{} is missing, wanted {}"): 1,
    N_("{} is {}, wanted {}"): 2,
    N_("not equals {}"): 1,
    N_("not contains {}"): 1,
    N_("not matches {}"): 1,
    N_("not at least {}"): 1,
    N_("not at most {}"): 1,
    N_("equals {}"): 1,
    N_("contains {}"): 1,
    N_("matches {}"): 1,
    N_("at least {}"): 1,
    N_("at most {}"): 1,
}
"""What differs first is quoted from a header or a rule, and is no text: so many blanks."""
_PATTERNS = tuple(
    (text, re.compile(re.escape(text).replace(r"\{\}", "(.+?)"), re.DOTALL), _QUOTING.get(text, 0))
    for text in (*_QUOTING, *_TEMPLATES, *trust_terms.TEMPLATES)
)
_OF_MODEL = re.compile(r"(\S+@\S+): (.+)", re.DOTALL)
"""A reason with the model that gives it."""


def term(text: str) -> str:
    """A text from elsewhere in the language that is spoken, or as it is if nobody knows it."""
    known = _(text)
    if known != text or spoken() == "en":
        return known
    if match := _OF_MODEL.fullmatch(text):
        return f"{match[1]}: {term(match[2])}"
    for template, pattern, quoted in _PATTERNS:
        if match := pattern.fullmatch(text):
            blanks = match.groups()
            return _(template).format(*blanks[:quoted], *map(term, blanks[quoted:]))
    return quantity(text)

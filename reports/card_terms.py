"""What the cards of the shipped bundles say, for the catalogues; other cards stay as written."""

import re

from reports.language import N_, _
from reports.terms import term

_TERMS = (
    # intended use, what it is not for, training data, limits
    N_("Shows that an installation works from end to end, on synthetic CT phantoms."),
    N_("Patients. It has never seen one: what it says of a real CT has no meaning."),
    N_("360 synthetic CT phantoms of the repository, 5000 steps."),
    N_("Trained on synthetic trunks only; lesions are smooth spheroids of 13 to 43 mm."),
    N_(
        "In patients, bright organs, contrast-filled bowel and heart are likely to be called "
        "lesions."
    ),
    N_("Reads the middle 432 mm of an image."),
    N_(
        "Shows where a tumour is that contrast T1 MR of the brain shows, and of which of three "
        "types it looks."
    ),
    N_(
        "Diagnosis or treatment. Telling whether there is a tumour at all. Other sequences, body "
        "parts, tumours and patients than those of its training."
    ),
    N_(
        "Trained on slices that all show a tumour, from two hospitals in China, 2005 to 2010; "
        "slices without one were made of them. Its specificity was measured on such made images "
        "alone, and only those with filled or lent places show whole heads, as a study does; "
        "traces of the tumour may be left in them. How often it sees a tumour in healthy brains "
        "is not known."
    ),
    N_(
        "Knows three types. Metastases, schwannomas, lymphomas, abscesses and all else are "
        "called one of them, or nothing."
    ),
    N_(
        "The training images are single slices of 8 bits; thickness, age, sex and scanner are "
        "not in the data, so that no such subgroup was measured."
    ),
    N_(
        "Of the series out of scope that it was tried on, few are MR of a brain: how well it "
        "knows other sequences of one by their pixels alone is hardly known."
    ),
    N_("Reads each slice by itself, and the middle 251 mm of it."),
    N_(
        "The data does not say who its patients are. A group of slices is a run of neighbours "
        "of one type: the halves that the verdict was fitted and measured on may share a "
        "patient, so that its figures may be too good, and intervals over groups too narrow."
    ),
    # what it was measured on
    N_("synthetic CT phantoms with seeds that neither training nor validation uses"),
    N_("synthetic CT phantoms of the validation, on which the methods were compared"),
    # what was measured
    N_("95 % Hausdorff distance of the outlines (mm)"),
    N_("Area under ROC"),
    N_("Average mask's peak in the mask"),
    N_("Brier score"),
    N_("Calibration error (ECE)"),
    N_("Calibration error of slice probabilities"),
    N_("Cases called right"),
    N_("Dice of the outlines"),
    N_("Heat map pixels, area under precision and recall"),
    N_("Heat map regions centred on a lesion"),
    N_("Heat map's evidence inside the mask"),
    N_("Heat map's place in the mask"),
    N_("Image centre in the mask"),
    N_("Images in scope that are flagged as out of it"),
    N_("Likeliest type is right"),
    N_("Maps called reliable that hit"),
    N_("Maps that hit called not reliable"),
    N_("Maps that hit called reliable"),
    N_("Maps that miss called not reliable"),
    N_("Maps that miss not called reliable"),
    N_("Mean Dice of the lesion outlines"),
    N_("Overlap (IoU) of mask and as many hottest pixels"),
    N_("Phantoms with a lesion called present"),
    N_("Phantoms without a lesion called absent"),
    N_("Series out of scope that are flagged by their images alone"),
    N_("Sensitivity"),
    N_("Series out of scope that are refused or flagged"),
    N_("Specificity"),
    N_("Verdict on maps: area under the ROC curve of hits against misses"),
    N_("Verdict on maps: calibration error of its chance"),
)
_TEMPLATES = (
    N_(
        "{} contrast T1 slices with a tumour of folds 1 to 3, and {} of fold 4, which decides when "
        "training stops, temperature, outline threshold and colour bar, of brain-tumour-cheng: "
        "8-bit JPEG copies of figshare 1512427 with the author's patient-disjoint folds. Fold 5 "
        "was neither trained nor chosen on. Training took {} minutes on {} processor cores."
    ),
    N_("Open answers are one answer, {}"),
    N_("Open answers hold the truth, {} absent ({} % stated)"),
    N_("Open answers hold the truth, {} present ({} % stated)"),
    N_("{} (any tumour)"),
    N_("{} (any tumour, enlarged parts)"),
    N_("{} (any tumour, filled places)"),
    N_("{} (any tumour, lent places)"),
    N_("{} (another modality)"),
    N_("{} (MR in several planes, or in none)"),
    N_("{} (MR of a head, other sequence)"),
    N_("{} (MR of an unnamed body part)"),
    N_("{} (MR of another body part)"),
    N_("{} (method: {} of the layer that the head reads)"),
    N_("{} (method: {} of {}, {} depths)"),
    N_("{} (method: {} of {})"),
    N_("{} (method: {})"),
    N_("{} (phantoms)"),
    N_("{} (tumour area: below {} mm²)"),
    N_("{} (tumour area: {} to {} mm²)"),
    N_("{} (tumour area: {} mm² and more)"),
    N_("{} (largest lesion: below {} mm)"),
    N_("{} (largest lesion: {} to {} mm)"),
    N_("{} (largest lesion: {} mm and more)"),
)
"""With blanks for what differs."""
_PATTERNS = tuple(
    (text, re.compile(re.escape(text).replace(r"\{\}", "(.+?)"))) for text in _TEMPLATES
)


def of_card(text: str) -> str:
    """What a card says in the language that is spoken; what nobody translated as it is."""
    known = _(text)
    if known != text:
        return known
    matches = ((template, pattern.fullmatch(text)) for template, pattern in _PATTERNS)
    said = (_(template).format(*map(term, match.groups())) for template, match in matches if match)
    return next(said, text)

"""Our own codes, where DICOM and SNOMED CT have none (PS3.3 section 8.2: private schemes)."""

from pydicom.sr.coding import Code

SCHEME = "99DICOMNODE"
SCHEME_NAME = "Visual explanations, derived images and test objects"
SCHEME_OWNER = "dicom-node"


def own(value: str, meaning: str) -> Code:
    """A code of our scheme: ``value`` has at most 16 characters and never changes its meaning."""
    return Code(value, SCHEME, meaning)


TRUST = own("TRUST", "Trust in visual explanation")
RELIABLE = own("RELIABLE", "Visual explanation passed its checks")
CAUTION = own("CAUTION", "Visual explanation may mislead")
NOT_RELIABLE = own("NOT_RELIABLE", "Visual explanation failed its checks and is withheld")
NOT_MEASURED = own("NOT_MEASURED", "Visual explanation was not checked")

ENERGY_INSIDE = own("ENERGY_INSIDE", "Evidence inside the outline")
OVERLAP = own("OVERLAP", "Overlap with the outline")
POINTING = own("POINTING", "Centre of the map's place in the outline")
OUTLINE_SURE = own("OUTLINE_SURE", "Certainty of the outline")
OUTLINE_DROP = own("OUTLINE_DROP", "Fall of the score without the outline")
REGION_DROP = own("REGION_DROP", "Fall of the score without the map's places")
SHIFT_AGREEMENT = own("SHIFT_AGREEMENT", "Stability when the image is moved")
EXPECTED_PLACE = own("EXPECTED_PLACE", "Agreement with the usual place")
BEYOND_BODY = own("BEYOND_BODY", "Evidence outside of the patient")
BORDER = own("BORDER", "Evidence at the border")
SPREAD = own("SPREAD", "Spread of the evidence")
UNFAMILIAR = own("UNFAMILIAR", "Distance from the training images")
MAP_HITS = own("MAP_HITS", "Chance that the map is right")
DELETION = own("DELETION", "Deletion area")
INSERTION = own("INSERTION", "Insertion area")
FAITHFULNESS = own("FAITHFULNESS", "Faithfulness correlation")
NOISE_RANK = own("NOISE_RANK", "Stability to noise, by rank")
NOISE_SSIM = own("NOISE_SSIM", "Stability to noise, by structure")
SHIFT_SSIM = own("SHIFT_SSIM", "Stability to movement, by structure")
OCCLUSION_RANK = own("OCCLUSION_RANK", "Agreement with occlusion")
COMPLETENESS = own("COMPLETENESS", "Completeness error")
SPREAD_OF_CHANCE = own("CHANCE_SPREAD", "Spread of the probability")

DERIVED_IMAGE = own("DERIVED_IMAGE", "Derived image")
MEAN_CHANGE = own("MEAN_CHANGE", "Root mean square change")

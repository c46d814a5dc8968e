"""The words of the reference bundle: its manifest and its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from dicom_node.domain.manifest import ExplanationPlan
from dicom_node.domain.trust import Conformal
from workers.training.measures import Figure
from workers.training.network import FEATURES, LOGIT, MASKS
from workers.training.text import (
    check_text,
    inline,
    method_text,
    performance_text,
    verdict_text,
)

SIDE = 192


OWN = ExplanationPlan(method="gradcam", layer=FEATURES, full_scale=10.0)
"""Of the decoder features that the classification head reads."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What validation decides."""

    shift: float = 0.0
    """Logit that separates studies with a lesion from those without: it goes into the bias."""
    temperature: float = 1.0
    plan: ExplanationPlan = OWN
    conformal: Conformal | None = None


MANIFEST = Template("""\
# Finds planted lesions in CT phantoms. Made by `dicom-worker train phantom`.
schema_version = 1
name = "phantom-lesion"
version = "1.0.0"
title = "Phantom lesion finder"
manufacturer = "DICOM AI node project"
content_qualification = "RESEARCH"
task = "classification"

[selection]
modality = ["CT"]
sop_classes = ["CTImageStorage", "EnhancedCTImageStorage"]
orientation = ["AXIAL", "OBLIQUE"]
min_images = 3
pick = "most_images"

[[selection.rules]] # no scouts
keyword = "ImageType"
contains = "LOCALIZER"
negate = true

[input]
shape = [$side, $side, 1]
batch = 8

[[preprocess]] # soft tissue, in HU
step = "window"
center = 40
width = 400

[[preprocess]] # 432 mm about the centre of the image
step = "fit"
rows = $side
columns = $side
spacing_mm = 2.25

[[outputs]]
kind = "classification"
layer = "$logit"

[[outputs.targets]]
label = "Lesion"
finding = { value = "52988006", scheme = "SCT", meaning = "Lesion" }
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }
threshold = 0.5 # the bias puts the best cut between validation phantoms here
temperature = $temperature # fitted on validation slices
located_by = "Lesion"
$conformal
[[outputs]]
kind = "segmentation"
layer = "$masks"

[[outputs.segments]]
label = "Body"
category = { value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }
type = { value = "38266002", scheme = "SCT", meaning = "Entire body" }
color = [110, 150, 190]

[[outputs.segments]]
label = "Lesion"
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }
type = { value = "52988006", scheme = "SCT", meaning = "Lesion" }
color = [255, 120, 60]
min_volume_ml = 0.8 # the smallest lesions have 1.1 ml

[explanation] # no other method points clearly better: see the card
$method
full_scale = $full_scale # logits; reached by one validation lesion in ten
region_level = 0.5
$trust
[resources] # on two processor cores
memory_gib = 3
seconds = 120

[card]
intended_use = "Shows that an installation works from end to end, on synthetic CT phantoms."
not_for = "Patients. It has never seen one: what it says of a real CT has no meaning."
training_data = "$training_data"
limits = [
  "Trained on synthetic trunks only; lesions are smooth spheroids of 13 to 43 mm.",
  "In patients, bright organs, contrast-filled bowel and heart are likely to be called lesions.",
  "Reads the middle 432 mm of an image.",
]
$performance""")

CHECKED = "maps of test phantoms against maps that know nothing"
FITTED = "fitted on maps that hit, and maps of misled twins that miss"
INTERVALS = "Wilson for proportions, bootstrap for means"
DATA = "synthetic CT phantoms with seeds that neither training nor validation uses"
COMPARED_ON = "synthetic CT phantoms of the validation, on which the methods were compared"


def manifest_text(
    chosen: Chosen = Chosen(),
    figures: Mapping[str, Mapping[str, Figure]] | None = None,
    training_data: str = "Synthetic CT phantoms.",
    methods: Mapping[str, Mapping[str, Figure]] | None = None,
) -> str:
    """The text of ``manifest.toml``; figures by subgroup, as ``evaluate`` and ``by_method`` give
    them."""
    return MANIFEST.substitute(
        side=SIDE,
        logit=LOGIT,
        masks=MASKS,
        method=method_text(chosen.plan),
        temperature=chosen.temperature,
        full_scale=chosen.plan.full_scale,
        training_data=training_data,
        conformal=_conformal(chosen.conformal),
        trust=check_text(chosen.plan.check, CHECKED) + verdict_text(chosen.plan.verdict, FITTED),
        performance="".join(
            performance_text(each, data, subgroup)
            for data, groups in ((DATA, figures), (COMPARED_ON, methods))
            for subgroup, each in (groups or {}).items()
        ),
    )


def decision(chosen: Chosen) -> str:
    """How the network comes to what it says."""
    return (
        f"A slice's logit is divided by {chosen.temperature:g} (temperature, fitted on validation "
        "slices) before it becomes a probability. A study is called positive when a slice reaches "
        "0.5: the network's bias puts there the cut with the highest sensitivity plus specificity "
        "over validation phantoms, in the middle of the gap where several are equal.\n\n"
        "The network is a small U-Net. Its classification head gives each 4.5 mm tile of a slice a "
        "logit of its own and pools them by log-sum-exp, so that the Grad-CAM heat map on its "
        "features shows those tile logits."
    )


def _conformal(plan: Conformal | None) -> str:
    return f"conformal = {inline(plan)} # of validation studies\n" if plan else ""

"""The words of ``brain-mr-tumour``: its manifest and its card."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from dicom_node.domain.manifest import ExplanationPlan
from dicom_node.domain.trust import Conformal
from workers.training.brain.network import EVIDENCE, MASKS, SIDE, TYPE_LOGITS
from workers.training.measures import Measured
from workers.training.text import (
    check_text,
    inline,
    method_text,
    performance_text,
    verdict_text,
)

LABELS = ("Meningioma", "Glioma", "Pituitary tumour")
SPACING_MM = 1.568
"""160 pixels cover what the training images do: 512 pixels of 0.49 mm."""


OWN = ExplanationPlan(method="hirescam", layer=EVIDENCE, full_scale=1.0)
"""Of the decoder's finest features, of which outline and presence are made: its maps say what
logits one cell adds."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the choosing fold decides."""

    temperature: float = 1.0
    mask_threshold: float = 0.5
    plan: ExplanationPlan = OWN
    conformal: Sequence[Conformal | None] = (None,) * len(LABELS)


CHECKED = "maps that the verdict was not fitted on, against maps that know nothing"
FITTED = "fitted on half of the groups of slices of the choosing fold; the other may share patients"
MANIFEST = Template((Path(__file__).parent / "manifest.template").read_text("utf-8"))

TARGET = Template("""
[[outputs.targets]]
label = "$label"
finding = { value = "$value", scheme = "SCT", meaning = "$meaning" }
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Abnormal Structure" }
site = { value = "$site", scheme = "SCT", meaning = "$place" }
threshold = 0.3 # the likeliest of the three, unless none is likelier
temperature = $temperature # fitted on the choosing fold
located_by = "Tumour"
$conformal""")
CODES = (
    ("302820008", "Intracranial meningioma", "12738006", "Brain"),
    ("393564001", "Glioma", "12738006", "Brain"),
    ("127024001", "Neoplasm of pituitary gland", "56329008", "Pituitary gland"),
)


def manifest_text(
    chosen: Chosen = Chosen(),
    measured: Sequence[Measured] = (),
    training_data: str = "",
) -> str:
    """The text of ``manifest.toml``."""
    return MANIFEST.substitute(
        side=SIDE,
        spacing=SPACING_MM,
        logits=TYPE_LOGITS,
        masks=MASKS,
        method=method_text(chosen.plan),
        targets="".join(
            _target(*each, chosen.temperature)
            for each in zip(LABELS, CODES, chosen.conformal, strict=True)
        ),
        mask_threshold=chosen.mask_threshold,
        full_scale=chosen.plan.full_scale,
        trust=check_text(chosen.plan.check, CHECKED) + verdict_text(chosen.plan.verdict, FITTED),
        training_data=json.dumps(training_data),
        performance="".join(
            performance_text(each.figures, each.data, each.subgroup) for each in measured
        ),
    )


INTERVALS = (
    "bootstrap over groups of slices; Wilson for shares of images; Hanley and McNeil for areas "
    "under a curve"
)
DECISION = (
    "The network is a U-Net. It outlines the tumour, and reads the type from the feature cells "
    "under that outline and from nowhere else. The heat map (HiResCAM on the layer that the "
    "outline reads) says what each of its 80 × 80 cells adds to the logit of the type; most of "
    "that is common to the three types: the map says where the tumour is seen, and little of why "
    'it is called this type. Three types and "no tumour" share one probability (softmax), after '
    "the logits are divided by a temperature."
)


def _target(
    label: str, codes: tuple[str, str, str, str], plan: Conformal | None, temperature: float
) -> str:
    value, meaning, site, place = codes
    return TARGET.substitute(
        label=label,
        value=value,
        meaning=meaning,
        site=site,
        place=place,
        temperature=temperature,
        conformal=f"conformal = {inline(plan)} # of single choosing slices\n" if plan else "",
    )

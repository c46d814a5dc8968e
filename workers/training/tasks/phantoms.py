"""Cylinders as recipes plant them, and the words that their manifests share."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.testing.inserts import FIELD_OF_VIEW_MM, Cylinder, cylinder
from dicom_node.testing.phantom import Phantom
from dicom_node.testing.study import make_study
from workers.training.slices import source_images
from workers.training.tasks.planted import Planted

SIZES = (64, 96, 128)
Kinds = Callable[[np.random.Generator], tuple[str, ...]]


def planting(
    kinds: Kinds,
    *,
    slices: int = 1,
    noise_hu: float = 12.0,
    sizes: Sequence[int] = SIZES,
    roaming: bool = False,
) -> Callable[[int], Planted]:
    """Cylinders with inserts that are drawn from the seed."""

    def plant(seed: int) -> Planted:
        rng = np.random.default_rng([seed, 2])
        size = int(rng.choice(sizes))
        made = cylinder(
            seed, kinds(rng), slices=slices, size=size, noise_hu=noise_hu, roaming=roaming
        )
        return Planted(_images(made.phantom), made)

    return plant


def _images(source: Phantom) -> SourceImages:
    """As reading its series of files gives them, with headers."""
    headers = tuple(make_study(source, origin_mm=(0.0, 0.0, 0.0)))
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    return replace(source_images(source), datasets=headers, frames=frames)


def of(planted: Planted) -> Cylinder:
    """The cylinder that was planted."""
    made: Cylinder = planted.truth
    return made


def inserts(planted: Planted, kind: str) -> BoolArray:
    """(slices, rows, columns): the mask of those of a kind; empty where there is none."""
    made = of(planted)
    masks = [m for k, m in zip(made.kinds, made.phantom.lesions, strict=True) if k == kind]
    return np.any(masks, axis=0) if masks else np.zeros(made.phantom.hu.shape, bool)


def sphere(planted: Planted) -> BoolArray:
    """(slices, rows, columns): the same of the sphere."""
    return inserts(planted, "sphere")


def manifest_head(
    name: str, title: str, *, task: str = "classification", least: int = 1, size: int = 64
) -> str:
    """The first tables of the manifest of a model that reads so many CT slices of this size."""
    steps = CT_STEPS.format(size=size, spacing=FIELD_OF_VIEW_MM / size)
    images = f"min_images = {least}"
    return HEAD.format(name=name, title=title, task=task, modality="CT", images=images) + steps


def target(label: str, code: str, meaning: str) -> str:
    """The table of an insert that is searched for."""
    finding = f'{{ value = "{code}", scheme = "99DICOMNODE", meaning = "{meaning}" }}'
    return f"""
[[outputs.targets]]
label = "{label}"
finding = {finding}
category = {OBJECT}
threshold = 0.5
"""


HEAD = """\
# Made by `dicom-worker train task {name} FOLDER`.
schema_version = 1
name = "{name}"
version = "1.0.0"
title = "{title}"
manufacturer = "DICOM AI node project"
content_qualification = "RESEARCH"
task = "{task}"

[selection]
modality = ["{modality}"]
{images}

[[selection.rules]] # phantoms of the repository alone: never a patient's study
keyword = "PatientID"
matches = "^PHANTOM-QA"
"""

CT_STEPS = """
[[preprocess]]
step = "window"
center = 40
width = 400

[[preprocess]]
step = "fit"
rows = {size}
columns = {size}
spacing_mm = {spacing}
"""

CARD = """
[resources] # on two processor cores
memory_gib = $memory_gib
seconds = $seconds

[card]
intended_use = "Shows that {what} work from end to end, on synthetic phantoms."
not_for = "Patients. It has never seen one: what it says of a real image has no meaning."
training_data = "$training_data"
limits = ["It knows cylinders of water with simple inserts, and nothing else."]
$performance"""
PHANTOM = '{ value = "706342009", scheme = "SCT", meaning = "Phantom" }'
OBJECT = '{ value = "260787004", scheme = "SCT", meaning = "Physical object" }'

"""Classical learning: is the insert a star? Radiomic features into a forest of decision trees."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dicom_node.catalog import BundleFolder
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.findings import Presence
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest, Resources
from workers.classical.extractor import Extractor
from workers.classical.features import region
from workers.classical.model import ClassicalModel
from workers.packaging import package_file
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.training.tasks import phantoms
from workers.training.tasks.planted import FULL, TEST, TRAINING, Planted, Size, part
from workers.training.tasks.recipe import measure
from workers.training.tasks.text import card_text, filled
from workers.training.text import parse

NAME = "qa-features"
BACKGROUND = 24
"""Cases against which Shapley values are computed."""
MANIFEST = (
    phantoms.manifest_head(NAME, "Phantom star by features", size=96)
    + """
[input]
shape = [96, 96, 1]

[region] # brighter than water: 110 HU and more
low = 0.675
high = 1.0
extractor = "scikit-image"

[[outputs]]
kind = "classification"
layer = "estimator"
exclusive = true
rest = "No star"
"""
    + phantoms.target("Star", "INSERT_STAR", "Star insert")
    + """
[explanation]
$method
"""
    + phantoms.CARD.format(what="models of radiomic features")
)

SHAPLEY = ExplanationPlan(method="shapley")
RESOURCES = Resources(memory_gib=2, seconds=60)
"""See ``Recipe.resources``."""


@dataclass(frozen=True)
class ClassicalRecipe:
    """How the bundle is made."""

    examples: int = 400
    checks: int = 100

    def train(
        self, folder: Path, seed: int = 0, progress: Progress = silent, size: Size = FULL
    ) -> BundleFolder:
        """Fit, measure on phantoms that training never saw, and write the bundle."""
        manifest = parse(filled(MANIFEST, SHAPLEY, RESOURCES))
        seeds = range(TRAINING, TRAINING + max(8, part(self.examples, size.examples)))
        vectors, classes = collect(manifest, seeds, progress)
        estimator = pipeline(seed).fit(vectors, classes)
        reference = {"features": vectors[:BACKGROUND]}
        model = ClassicalModel(manifest, estimator, reference)
        figure = measure(plant, right, model, part(self.checks, size.checks), progress)
        data = f"{len(seeds)} synthetic phantoms."
        text = filled(MANIFEST, SHAPLEY, RESOURCES, {QUESTION: figure}, data)
        return write(folder, text, estimator, reference, plant(TEST).images)


QUESTION = "Phantoms with the right answer"
RECIPES = {NAME: ClassicalRecipe()}


def pipeline(seed: int) -> Any:
    """Scaled features into a small forest."""
    forest = RandomForestClassifier(24, max_depth=4, random_state=seed)
    return make_pipeline(StandardScaler(), forest)


def plant(seed: int) -> Planted:
    """A star, another insert, or none."""
    return phantoms.planting(_insert)(seed)


def _insert(rng: np.random.Generator) -> tuple[str, ...]:
    kinds = ("star", "star", "star", "disc", "square", "ring", "")
    kind = str(rng.choice(kinds))
    return (kind,) if kind else ()


def collect(
    manifest: ModelManifest, seeds: range, progress: Progress = silent
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Features, and the class of each: 0 is a star, 1 the rest."""
    plan = manifest.region
    if plan is None:
        raise UnsupportedModel("features are read of a region: add [region]")
    extractor, vectors, classes = Extractor.of(plan), [], []
    for done, seed in enumerate(seeds, 1):
        planted = plant(seed)
        plane = prepare(planted.images, manifest).values[0, ..., 0]
        vectors.append(extractor.within(plane, region(plane, plan.low, plan.high)))
        classes.append(int("star" not in phantoms.of(planted).kinds))
        progress("phantoms", done / len(seeds))
    return np.stack(vectors), np.array(classes)


def right(planted: Planted, analysis: Analysis) -> bool:
    """Whether there is a star."""
    (finding,) = analysis.findings
    return (finding.presence is Presence.PRESENT) == ("star" in phantoms.of(planted).kinds)


def write(
    folder: Path,
    manifest: str,
    estimator: Any,
    reference: dict[str, NDArray[np.float64]],
    example: SourceImages,
) -> BundleFolder:
    """Write the bundle; the estimator by skops, which holds no code."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.skops"
        skops.io.dump(estimator, file, compression=8)
        return package_file(folder, file, manifest, card_text(manifest), example, reference)

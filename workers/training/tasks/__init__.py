"""Recipes of the small bundles, one for each task, made on quality-assurance phantoms."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

from dicom_node.catalog import BundleFolder
from workers.progress import Progress

MODULES: Mapping[str, str] = {
    "qa-diameter": "regression",
    "qa-insert": "classification",
    "qa-inserts": "classification",
    "qa-features": "classical",
    "qa-boxes": "detection",
    "qa-denoise": "denoise",
    "qa-sequence": "sequence",
    "qa-spheres": "volume",
    "qa-transformer": "classification",
    "qa-views": "views",
}
"""The module of each bundle."""


class Trainer(Protocol):
    """Makes one bundle."""

    def train(self, folder: Path, seed: int, progress: Progress) -> BundleFolder:
        """Fit, measure on phantoms that training never saw, and write the bundle."""


def recipe_of(name: str) -> Trainer:
    """The recipe of a bundle; its module is imported now, and with it Keras or scikit-learn."""
    found: Trainer = import_module(f"{__name__}.{MODULES[name]}").RECIPES[name]
    return found

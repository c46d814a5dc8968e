"""A recipe: the TOML file that says how a network is trained on a group's own data.

What the network reads and says stands in the manifest beside it, as in every bundle; a recipe adds
what only training needs to know. Every error names the key and what would be right.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from dicom_node.catalog import parse_manifest, problems
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Quantity, Target
from dicom_node.domain.part import Part
from workers.written import read_text

SIDES = frozenset({"7771000", "24028007"})
"""Left and right (SCT, CID 244)."""
TRAINED = frozenset({"classification", "regression", "segmentation"})


class Folds(Part):
    """Which folds of the data are for what.

    They are named by its column ``fold``; a table without it shares its patients out over ``1`` to
    ``5``.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    train: tuple[str, ...] = Field(default=("1", "2", "3"), min_length=1)
    choose: tuple[str, ...] = Field(default=("4",), min_length=1)
    """Say after which epoch the network is best and, where there are masks, how far to believe its
    maps."""
    test: tuple[str, ...] = Field(default=("5",), min_length=1)
    """Measured once, at the end, for the card: nothing is chosen on them."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        every = [*self.train, *self.choose, *self.test]
        twice = sorted({fold for fold in every if every.count(fold) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} has two uses: what is trained on cannot be measured on"
            )
        return self


class Network(Part):
    """What is trained."""

    backbone: Literal["small", "MobileNetV3Small", "EfficientNetV2B0", "DenseNet121"] = "small"
    """A plain network of convolutions that grows with the input, or one of keras.applications; with
    a segmentation it is the encoder of a U-Net. From scratch."""
    start: Path | None = None
    """A ``.keras`` file, in place of a backbone: a network with all layers that the manifest's
    outputs name, or the features that they are made of. It takes the image as the manifest's steps
    leave it."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Part of the features that each training step hides from the answers."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.start is not None and "backbone" in self.model_fields_set:
            raise ValueError("start is in place of a backbone: leave one of them out")
        return self


class Training(Part):
    """How long, and how fast."""

    epochs: int = Field(default=50, ge=1, le=100_000)
    """At most. In each, as many images are drawn as there are: rare answers more often."""
    patience: int = Field(default=10, ge=1)
    """It stops where so many epochs have not answered the choosing folds better."""
    batch: int = Field(default=16, ge=1, le=4096)
    rate: float = Field(default=1e-3, gt=0, lt=1)
    """The highest learning rate of AdamW: it rises to it, and falls on a cosine."""
    seed: int = Field(default=0, ge=0)


class Augment(Part):
    """How training images are changed at random, their masks with them."""

    share: float = Field(default=0.8, ge=0, le=1)
    """Of the images; 0: none is changed."""
    mirror: tuple[Literal["columns", "rows"], ...] = ("columns",)
    """Which of them may change their order; ``columns`` swaps left and right of an axial image."""
    turn_degrees: float = Field(default=10, ge=0, le=180)
    """Standard deviation, as of all that follow."""
    shift: float = Field(default=0.05, ge=0, le=0.5)
    """Of the side."""
    scale: float | None = Field(default=None, ge=0, le=1)
    """Of the size: 0.1, but 0 where a number is measured, for that may be a size."""
    intensity: float = Field(default=0.1, ge=0, le=1)
    """Of contrast, and of brightness in deviations of the image."""


class Recipe(Part):
    """The whole of a recipe."""

    manifest: Path = Path("manifest.toml")
    """Beside the recipe: that of the bundle, as far as it is known before training."""
    example: Path | None = None
    """DICOM files of one series, whose pixels may be given away: they become the golden test."""
    folds: Folds = Folds()
    network: Network = Network()
    training: Training = Training()
    augment: Augment = Augment()


@dataclass(frozen=True)
class Plan:
    """A recipe, and what it points to."""

    home: Path
    """Where its paths start."""
    recipe: Recipe
    text: str
    """Of ``manifest.toml``."""
    manifest: ModelManifest

    @property
    def scale(self) -> float:
        """Deviation of a training image's size."""
        stated = self.recipe.augment.scale
        unmeasured = 0.1 if self.manifest.regression is None else 0.0
        return unmeasured if stated is None else stated


def read_recipe(path: Path) -> Plan:
    """A recipe and the manifest that it points to.

    Raises ConfigurationError for what is wrong with the recipe, and for a model that has to be
    trained otherwise; CorruptBundle for what is wrong with the manifest.
    """
    try:
        recipe = Recipe.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path.name} is no TOML: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"correct {path.name}: {problems(error)}") from None
    named = {
        "manifest": recipe.manifest,
        "network.start": recipe.network.start,
        "example": recipe.example,
    }
    for key, file in named.items():
        if file is not None and not (path.parent / file).exists():
            raise ConfigurationError(f"correct {path.name}: {key}: there is no {file} beside it")
    text = read_text(path.parent / recipe.manifest)
    manifest = parse_manifest(text.encode(), path.parent)
    _refuse_others(manifest)
    _refuse_swapped_sides(manifest, recipe.augment)
    return Plan(path.parent, recipe, text, manifest)


def _refuse_others(manifest: ModelManifest) -> None:
    """Models that answer for more than a slice, or by other outputs than are trained here."""
    kinds = [output.kind for output in manifest.outputs if output.kind not in TRAINED]
    unit = manifest.input.unit
    found = f"the unit {unit}" if unit != "slice" else ", ".join(kinds)
    found = found or ("features of a region" if manifest.region is not None else "")
    if found:
        raise ConfigurationError(
            f"{manifest.id} has {found}, and `train own` trains networks that classify, measure or "
            "outline single slices: train it by yourself, and make a bundle of it with "
            "`dicom-worker package`"
        )


def _refuse_swapped_sides(manifest: ModelManifest, augment: Augment) -> None:
    answers: list[Target | Quantity] = list(manifest.targets)
    answers += manifest.regression.quantities if manifest.regression else ()
    sided = [a.label for a in answers if a.laterality and a.laterality.value in SIDES]
    if sided and augment.share and "columns" in augment.mirror:
        raise ConfigurationError(
            f"augment.mirror: a mirror image of {sided[0]} shows the other side: write mirror = []"
        )

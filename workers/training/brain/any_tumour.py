"""Tumour or none: of slices that show one, and of images made of them that do not.

The data has no slice without a tumour. Images without one are made as training makes them, and a
network may know them by that: beside each kind without a tumour stands the same kind with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.random import Generator
from PIL import Image

from dicom_node.domain.manifest import ModelManifest
from workers.model import Model
from workers.progress import Progress
from workers.training.brain.augment import Slice, borrowed, filled, window
from workers.training.brain.network import SIDE
from workers.training.brain.slices import Slices
from workers.training.brain.text import SPACING_MM
from workers.training.dataset import Example
from workers.training.evaluation.cases import look
from workers.training.evaluation.figures import Cases, by_target
from workers.training.evaluation.seen import Seen
from workers.training.measures import Figure, Measured

Change = Callable[[Slice, Generator, float], Slice | None]

SEED = 90_000
NAMES = ("Sensitivity", "Specificity", "Area under ROC")
SUBGROUP = "any tumour"
KINDS: Mapping[str, Change] = {
    "enlarged parts": lambda given, rng, without: window(given, rng, SIDE, without),
    "filled places": filled,
    "lent places": borrowed,
}
MADE = (
    "images made of the slices of the choosing fold as training makes them, of each slice one with "
    "its tumour and one without, where it can be done; none is of a healthy brain. Enlarged parts: "
    "of a slice, with its tumour or beside it. Filled and lent places: another place of the slice, "
    "or that of its tumour, is filled from the other side of the head, or from another slice of "
    "the choosing fold that is alike about it"
)


def any_tumour(seen: Sequence[Seen], manifest: ModelManifest) -> Mapping[str, Figure]:
    """Of one answer, there is a tumour; a figure that the cases do not tell is left out."""
    together = [
        replace(
            each,
            truth=np.array([each.truth.any()]),
            called=np.array([each.called.any()]),
            probabilities=np.array([each.probabilities.sum()]),
        )
        for each in seen
    ]
    found = by_target(Cases(together, manifest), 0) if seen else {}
    return {name: found[name] for name in NAMES if name in found and found[name].value >= 0}


def of_made(
    model: Model, examples: Sequence[Example], slices: Slices, progress: Progress
) -> Iterator[Measured]:
    """The same of each kind of made images; ``slices`` are those of the examples."""
    for name, change in KINDS.items():
        with TemporaryDirectory() as scratch:
            made = list(_made(Path(scratch), examples, slices, change))
            seen = list(look(model, made, progress=progress))
        yield Measured(any_tumour(seen, model.manifest), MADE, f"{SUBGROUP}, {name}")


def _made(
    folder: Path, examples: Sequence[Example], slices: Slices, change: Change
) -> Iterator[Example]:
    """Saved as files, so that they are read as any others."""
    for number, example in enumerate(examples):
        for without in (0, 1):
            rng = np.random.default_rng([SEED, number, without])
            made = change(slices.with_lender(number, rng), rng, without)
            if made is not None:
                yield _saved(folder / f"{number}-{without}.png", example, made, bool(without))


def _saved(file: Path, example: Example, made: Slice, without: bool) -> Example:
    Image.fromarray(np.round(255 * np.clip(made.image, 0, 1)).astype(np.uint8)).save(file)
    return replace(
        example,
        image=file,
        mask=None,
        spacing_mm=SPACING_MM * SIDE / made.image.shape[0],
        labels=frozenset() if without else example.labels,
    )

"""From a trained network to a bundle: its maps settled, its answers measured, its card written."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from dicom_node.catalog import BundleFolder
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.images import SourceImages
from workers.arrays import Arrays
from workers.keras_model import KerasModel
from workers.model import Model
from workers.packaging import package_file
from workers.prediction import predict
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.evaluation.cases import look
from workers.training.evaluation.figures import Cases as Looked
from workers.training.evaluation.figures import by_target
from workers.training.evaluation.page import whose
from workers.training.evaluation.run import Question
from workers.training.evaluation.sections import overall
from workers.training.localise import TALL_MAPS
from workers.training.masked import Cases
from workers.training.measures import Figure
from workers.training.own import text
from workers.training.own.data import Split
from workers.training.own.recipe import Plan
from workers.training.reading import read_case
from workers.training.settle import settle
from workers.training.text import card_text, parse

PEAKS_OF = 80
"""Cases whose maps say where the colour bar ends, at most."""
NO_EXAMPLE = (
    "no golden test: name DICOM files whose pixels may be given away as example in the recipe"
)

NAMELESS = (
    "that the folds share no patient is taken from the table, which does not name all: add patient"
)


@dataclass(frozen=True)
class Trained:
    """What came of a recipe."""

    bundle: BundleFolder
    notes: tuple[str, ...]
    """What it lacks, and how it gets it."""


@dataclass(frozen=True)
class Finishing:
    """A network that is trained, and all that its bundle is made of."""

    plan: Plan
    split: Split
    question: Question
    network: keras.Model
    draft: str
    """The text of the manifest, without figures."""
    example: SourceImages | None
    progress: Progress

    def write(self, folder: Path) -> Trained:
        """Settle, measure, and write the bundle."""
        manifest, reference, notes = self._settled()
        model = KerasModel(parse(manifest), self.network, reference)
        manifest = text.with_figures(manifest, *self._measured(model))
        with tempfile.TemporaryDirectory() as scratch:
            weights = Path(scratch) / "model.keras"
            keras.Model(self.network.inputs, self.network.outputs).save(weights)
            bundle = package_file(
                folder, weights, manifest, _card(manifest), self.example, reference
            )
        nameless = (NAMELESS,) if self.split.unknown else ()
        return Trained(
            bundle, (*notes, *nameless, *self.split.notes, *(() if self.example else (NO_EXAMPLE,)))
        )

    def _settled(self) -> tuple[str, Arrays | None, tuple[str, ...]]:
        """The manifest, its maps settled where masks of the choosing folds allow it."""
        explained = parse(self.draft).explained
        if explained is None:
            return self.draft, None, ()
        cases = Cases(self.split.choose, self.question.spacing_mm)
        try:
            found = settle(self.draft, self.network, cases, self._of("choose"), self.progress)
        except ConfigurationError as error:
            return self._scaled(), None, (f"heat maps are not measured: {error}",)
        return found.manifest, found.reference, ()

    def _scaled(self) -> str:
        """With a colour bar that tall maps of the choosing folds fill."""
        model = KerasModel(parse(self.draft), self.network)
        peaks = list(self._peaks(model))
        if not peaks:
            return self.draft
        tall = max(float(np.percentile(peaks, TALL_MAPS)), 1e-3)
        return text.with_full_scale(self.draft, float(f"{tall:.2g}"))

    def _peaks(self, model: Model) -> Iterator[float]:
        """Of the maps of what is called present, and of numbers."""
        manifest, thinned = model.manifest, Cases(self.split.choose).thinned(PEAKS_OF).examples
        for done, example in enumerate(thinned, 1):
            images = read_case(example, manifest.input, self.question.spacing_mm)
            prediction, maps = predict(model, prepare(images, manifest))
            called = {
                target.label: prediction.probabilities[:, column] >= target.threshold
                for column, target in enumerate(manifest.targets)
            }
            for label, saliency in maps.items():
                yield from saliency.peaks[called.get(label, slice(None))].tolist()
            self.progress("colour bar", done / len(thinned))

    def _measured(self, model: Model) -> tuple[Mapping[str, Figure], str]:
        """What the whole pipeline says of the test folds, and what they are called."""
        show = partial(_as, "testing", self.progress)
        spacing_mm = self.question.spacing_mm
        seen = list(look(model, self.split.test, spacing_mm=spacing_mm, progress=show))
        cases = Looked(seen, model.manifest)
        figures = dict(overall(cases))
        for column, target in enumerate(model.manifest.targets):
            named = by_target(cases, column)
            figures |= {f"{target.label}: {name}": figure for name, figure in named.items()}
        return figures, f"{self._of('test')}: {whose(cases)} that training has not seen"

    def _of(self, use: str) -> str:
        """What the cases of some folds are called."""
        folds = getattr(self.plan.recipe.folds, use)
        return f"{self.question.data.resolve().name}, fold {', '.join(folds)}"


def _card(manifest: str) -> str:
    said = parse(manifest)
    intervals = text.INTERVALS if said.card.performance else "not measured"
    return card_text(said, intervals, text.DECISION)


def _as(what: str, progress: Progress, _: str, part: float) -> None:
    progress(what, part)

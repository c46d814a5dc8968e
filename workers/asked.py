"""An answer's key frame on the model's grid, and the model to be asked about changes of it.

Of a volume, a sequence or several views the key frame is changed while all else stays as it was,
and every item that shows it is asked again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logit as log_odds

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Answer, Estimate, Finding
from dicom_node.domain.outputs import (
    Classification,
    Detection,
    Explained,
    Regression,
    Segmentation,
)
from dicom_node.domain.prediction import Prediction
from explain import evidence
from explain.evidence import Seen
from explain.explainer import Explainer, Inputs
from explain.outliers import Known, score
from explain.projection import Grid
from workers.drawn import drawn, likelihood, operating_point
from workers.held import Held
from workers.items import Items
from workers.model import Model
from workers.steps.prepared import Prepared

AVERAGE_MASK = "average_mask"
"""In ``reference.npz``: where the training masks lie, (rows, columns) of the model's input; of
several views (views, rows, columns)."""
CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1 that they have log-odds."""
PLANES_AXES = 4
"""Of one target's maps with an axis of planes."""
MASKS_AXES = 5
"""Of what a head with pixels says of planes."""


@dataclass(frozen=True)
class Asked:
    """One series as the model saw it, and what it said.

    The score of a target is the log-odds of its calibrated probability; of a box its own, wherever
    others lie; of a quantity it is the number. Of a segment it is the mean of the pixels of the key
    frame that were outlined in the image as it is.
    """

    model: Model
    prepared: Prepared
    prediction: Prediction

    def explains(self, answer: Answer) -> bool:
        """Whether the manifest's method explains the output that gave the answer."""
        plan = None if self.model.explainer() is None else self.model.manifest.explained
        if isinstance(answer, Finding):
            return isinstance(plan, Classification | Detection) and answer.target in plan.targets
        if isinstance(plan, Segmentation):
            return answer.segment is not None and answer.outlined in plan.segments
        return isinstance(plan, Regression) and answer.quantity in plan.quantities

    def seen(self, answer: Answer, saliency: SaliencyMap) -> Seen:
        """The key frame; ``Seen.logit`` is the score.

        The operating point of a number is as far below it as 0 is away, so that the part of the
        score that goes is the number's relative fall.
        """
        held, said, point = self.held(answer), self._said(answer), operating_point(answer)
        return Seen(
            image=held.image,
            values=np.maximum(self._on_model(saliency.values[answer.frame]), 0),
            logit=said,
            operating=said - abs(said) if point is None else float(log_odds(point)),
            outline=self._outline(answer),
            likely=self._likely(answer),
            expected=self._expected(answer),
            outside=None if self.unfamiliar is None else float(self.unfamiliar[held.frame]),
            padding=None if self.prepared.padding is None else self.prepared.padding[held.frame],
            moves=answer.box is None,
        )

    def held(self, answer: Answer) -> Held:
        """What the model reads at once with the answer's key frame."""
        frame = int(self.prepared.nearest[answer.frame])
        return Held.of(self._items, self.prepared.values, frame)

    def again(self, answer: Answer, images: FloatArray) -> evidence.Answer:
        """Scores and maps of an answer for other key images, (images, rows, columns, channels)."""
        held = self.held(answer)
        each = [self._again(answer, part) for part in self._few(held, images)]
        scores, maps = zip(*each, strict=True)
        return np.concatenate(scores), np.concatenate(maps)

    def _again(self, answer: Answer, images: FloatArray) -> evidence.Answer:
        held = self.held(answer)
        size = self.model.manifest.input.batch
        each = [self._explained(answer, batch) for batch in held.batches(images, size)]
        said, maps = [one[0] for one in each], [one[1] for one in each]
        cells = held.together(maps, by_plane=maps[0].ndim == PLANES_AXES)
        grid = Grid.covering(images.shape[1:3], cells.shape[1:3])
        return self._scores(answer, _together(held, said)), grid.project(cells)

    def _few(self, held: Held, images: FloatArray) -> Iterator[FloatArray]:
        """As many as go into a batch: what is said of all pixels of many would fill the memory."""
        several = max(1, self.model.manifest.input.batch // held.passes)
        for start in range(0, len(images), several):
            yield images[start : start + several]

    def map_by(self, explainer: Explainer, answer: Answer) -> FloatArray:
        """What another method says of an answer's key frame, (rows, columns) of the source.

        Only while the frames that were read are those of the source; see ``Prepared.on_source``.
        """
        held, where, column = self.held(answer), self.where(answer), self._column(answer)
        batches = held.batches(held.image[None], self.model.manifest.input.batch)
        maps = [explainer.explain(batch, [column], where).maps[:, 0] for batch in batches]
        cells = held.together(maps, by_plane=maps[0].ndim == PLANES_AXES)
        return np.asarray(self.prepared.on_source(cells[..., None])[0, ..., 0])

    def ask(self, answer: Answer, images: FloatArray) -> FloatArray:
        """Scores alone; ``input.batch`` items at a time."""
        held, head, size = self.held(answer), self.plan.kind, self.model.manifest.input.batch
        scores = []
        for part in self._few(held, images):
            said = [self.model.predict(batch).heads[head] for batch in held.batches(part, size)]
            scores.append(self._scores(answer, _together(held, said)))
        return np.concatenate(scores)

    def where(self, answer: Answer) -> FloatArray | None:
        """(1, 1, boxes): 1 for the answer's own; none for an answer that is no box."""
        own, boxes = self._own_box(answer), self.prediction.boxes
        if own is None or boxes is None:
            return None
        where = np.zeros((1, 1, len(boxes.places) // len(self.prediction.logits)), np.float32)
        where[0, 0, own % where.shape[-1]] = 1
        return where

    @cached_property
    def unfamiliar(self) -> FloatArray | None:
        """(frames,): distance from the training images; none where the bundle knows none."""
        known = Known.of(self.model.reference)
        features = self.prediction.features
        return None if known is None or features is None else score(known, features)

    @property
    def passes(self) -> int:
        """Of the network, that the prediction took: one for each item."""
        return len(self._items.frames)

    @cached_property
    def _items(self) -> Items:
        return Items.of(self.model.manifest.input, self.prepared)

    @property
    def plan(self) -> Explained:
        """The output that is explained."""
        plan = self.model.manifest.explained
        if plan is None:
            raise ValueError(f"{self.model.manifest.id} is not explained")
        return plan

    def _expected(self, answer: Answer) -> FloatArray | None:
        average = self.model.reference.get(AVERAGE_MASK)
        if average is None:
            return None
        if self._items.unit == "views":
            average = average[self._items.view(self.held(answer).frame)]
        size = self.prepared.values.shape[1:3]
        grid = Grid.covering(size, average.shape)
        return np.asarray(grid.project(average[None].astype(np.float32))[0])

    def _column(self, answer: Answer) -> int:
        return self.plan.labels.index(answer.label)

    def _said(self, answer: Answer) -> float:
        """The score of the image as it is."""
        prediction, column = self.prediction, self._column(answer)
        own = self._own_box(answer)
        if own is not None and prediction.boxes is not None:
            return float(_odds(prediction.boxes.probabilities[own])[column])
        if answer.segment is not None and isinstance(answer, Estimate):
            return float(self.ask(answer, self.held(answer).image[None])[0])
        if isinstance(answer, Estimate) and prediction.numbers is not None:
            return float(prediction.numbers[answer.frame, column])
        return float(_odds(prediction.probabilities[answer.frame])[column])

    def _scores(self, answer: Answer, said: FloatArray) -> FloatArray:
        """(images,) of what the explained head said, (images, [boxes | cells,] channels)."""
        if isinstance(self.plan, Segmentation):
            likely = self.model.mask_probabilities(said)[..., self._column(answer)]
            grid = Grid.covering(self.prepared.values.shape[1:3], likely.shape[1:])
            return np.asarray(_odds(grid.project(likely))[:, self._outline(answer)].mean(axis=-1))
        where = self.where(answer)
        own = said if where is None else said[:, int(where.argmax())]
        if not isinstance(answer, Estimate):
            own = _odds(self.model.probabilities(own))
        return own[:, self._column(answer)]

    def _explained(self, answer: Answer, batch: Inputs) -> tuple[FloatArray, FloatArray]:
        """What the explained head says, and the maps of one target: (items, [planes,] cells)."""
        explainer, where, column = self.model.explainer(), self.where(answer), self._column(answer)
        if explainer is None:
            raise ValueError(f"{self.model.manifest.id} is not explained")
        places = None if where is None else np.repeat(where, len(batch), axis=0)
        if places is not None and explainer.one_pass:
            own = explainer.explain(batch, [column], places)
            return own.logits, own.maps[:, 0]
        output = self.model.predict(batch)
        said, attribution = output.heads[self.plan.kind], output.attribution
        if attribution is not None:
            return said, attribution.maps[:, column]
        return said, explainer.explain(batch, [column], places).maps[:, 0]

    def _own_box(self, answer: Answer) -> int | None:
        boxes = self.prediction.boxes
        return None if answer.box is None or boxes is None else boxes.places.index(answer.box)

    def _outline(self, answer: Answer) -> BoolArray | None:
        """What the model drew of it, or its box; of a thin segment where it is thickest."""
        outline = drawn(answer, self.model.manifest, self.prediction)
        if outline is None:
            return None
        shared = self._on_model(outline)
        thick = isinstance(answer, Finding) or shared.max() >= 0.5
        return np.asarray(shared >= (0.5 if thick else shared.max()))

    def _likely(self, answer: Answer) -> FloatArray | None:
        likely = likelihood(answer, self.model.manifest, self.prediction)
        return None if likely is None else self._on_model(likely)

    def _on_model(self, values: FloatArray) -> FloatArray:
        return np.asarray(self.prepared.grid.sample(values[None])[0], np.float32)


def _together(held: Held, said: Sequence[FloatArray]) -> FloatArray:
    """What the explained head said of the key frame."""
    return held.together(said, by_plane=said[0].ndim == MASKS_AXES)


def _odds(likely: FloatArray) -> FloatArray:
    return np.asarray(log_odds(np.clip(likely, CERTAIN, 1 - CERTAIN)), np.float32)

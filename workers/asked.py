"""A finding's key slice on the model's grid, and the model to be asked about changes of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logit as log_odds

from dicom_node.domain.analysis import BoolArray, Finding, FloatArray, Prediction, SaliencyMap
from explain.evidence import Answer, Seen
from explain.outliers import Known, score
from explain.projection import Grid
from workers.model import Model
from workers.steps.prepared import Prepared

AVERAGE_MASK = "average_mask"
"""In ``reference.npz``: where the training masks lie, (rows, columns) of the model's input."""
CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1 that they have log-odds."""


@dataclass(frozen=True)
class Asked:
    """One series as the model saw it, slice by slice, and what it said."""

    model: Model
    prepared: Prepared
    prediction: Prediction

    def seen(self, finding: Finding, saliency: SaliencyMap) -> Seen:
        """The key slice; logits are log-odds of the calibrated probability."""
        frame = finding.frame
        likely = self.prediction.probabilities[frame]
        return Seen(
            image=self.prepared.values[frame],
            values=np.maximum(self._on_model(saliency.values[frame]), 0),
            logit=float(_odds(likely)[self._column(finding)]),
            operating=float(log_odds(finding.target.threshold)),
            outline=self._outline(finding),
            expected=self._expected,
            outside=None if self.unfamiliar is None else float(self.unfamiliar[frame]),
        )

    def again(self, finding: Finding, images: FloatArray) -> Answer:
        """Log-odds and maps of other images, for the target of a finding."""
        column, explainer = self._column(finding), self.model.explainer()
        output = self.model.predict(images)
        attribution = output.attribution
        if attribution is None and explainer is not None:
            maps = explainer.explain(images, [column]).maps[:, 0]
        else:
            nothing = np.zeros(images.shape[:3], np.float32)
            maps = attribution.maps[:, column] if attribution else nothing
        grid = Grid.covering(images.shape[1:3], maps.shape[1:3])
        return self._odds(output.logits)[:, column], grid.project(maps)

    def ask(self, finding: Finding, images: FloatArray) -> FloatArray:
        """Log-odds alone; ``input.batch`` images at a time."""
        size = self.model.manifest.input.batch
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        odds = [self._odds(self.model.predict(part).logits) for part in parts]
        return np.concatenate(odds)[:, self._column(finding)]

    @cached_property
    def unfamiliar(self) -> FloatArray | None:
        """(frames,): distance from the training images; none where the bundle knows none."""
        known = Known.of(self.model.reference)
        features = self.prediction.features
        return None if known is None or features is None else score(known, features)

    @cached_property
    def _expected(self) -> FloatArray | None:
        average = self.model.reference.get(AVERAGE_MASK)
        if average is None:
            return None
        size = self.prepared.values.shape[1:3]
        grid = Grid.covering(size, average.shape)
        return np.asarray(grid.project(average[None].astype(np.float32))[0])

    def _odds(self, logits: FloatArray) -> FloatArray:
        return _odds(self.model.probabilities(logits))

    def _column(self, finding: Finding) -> int:
        plan = self.model.manifest.classification
        return plan.targets.index(finding.target) if plan else 0

    def _outline(self, finding: Finding) -> BoolArray | None:
        plan, label = self.model.manifest.segmentation, finding.target.located_by
        if plan is None or label is None:
            return None
        channel = [segment.label for segment in plan.segments].index(label)
        likely = self.prediction.masks[finding.frame, ..., channel]
        mask = (likely >= plan.segments[channel].threshold).astype(np.float32)
        return np.asarray(self._on_model(mask) >= 0.5)

    def _on_model(self, values: FloatArray) -> FloatArray:
        return np.asarray(self.prepared.grid.sample(values[None])[0], np.float32)


def _odds(likely: FloatArray) -> FloatArray:
    return np.asarray(log_odds(np.clip(likely, CERTAIN, 1 - CERTAIN)), np.float32)

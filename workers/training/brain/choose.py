"""What the choosing fold decides: temperature, threshold of the outline, colour bar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan
from workers.model import Model
from workers.prediction import predict
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.brain.data import CHENG_MM
from workers.training.brain.text import LABELS, Chosen
from workers.training.dataset import Example
from workers.training.measures import dice, shared_temperature
from workers.training.reading import read_images, read_mask

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
TALL_MAPS = 90
"""Percentile of the map peaks that fills the colour bar."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one slice, on its own grid."""

    logits: NDArray[np.float64]
    """(types + 1,): the last is that of no tumour, always 0."""
    type: int
    features: FloatArray
    """(channels,)."""
    peak: float
    """Of the map of the true type: logits that one cell adds."""
    dice: NDArray[np.float64]
    """(thresholds,)."""


def ask(model: Model, examples: Sequence[Example], progress: Progress) -> Iterator[Answer]:
    """The model's answers, slice by slice."""
    for done, example in enumerate(examples, 1):
        yield _answer(model, example)
        progress("choosing", done / len(examples))


def choose(answers: Sequence[Answer], plan: ExplanationPlan) -> Chosen:
    """From slices that the fit has not seen."""
    logits = np.stack([answer.logits for answer in answers]).astype(np.float64)
    types = [answer.type for answer in answers]
    overlap = np.mean([answer.dice for answer in answers], axis=0)
    peak = np.percentile([answer.peak for answer in answers], TALL_MAPS)
    return Chosen(
        temperature=round(shared_temperature(logits, np.eye(len(logits[0]))[types]), 3),
        mask_threshold=THRESHOLDS[int(overlap.argmax())],
        plan=plan.model_copy(update={"full_scale": round(max(0.01, float(peak)), 2)}),
    )


def _answer(model: Model, example: Example) -> Answer:
    images = read_images(example, CHENG_MM)
    mask = read_mask(example, images)
    prediction, maps = predict(model, prepare(images, model.manifest))
    label = next(iter(example.labels))
    if mask is None or prediction.features is None:
        raise UnsupportedModel("this recipe needs masks, and features with the prediction")
    return Answer(
        logits=np.append(prediction.logits[0], 0.0),
        type=LABELS.index(label),
        features=prediction.features[0],
        peak=float(maps[label].values.max()),
        dice=np.array([dice(mask, prediction.masks[..., 0] >= cut) for cut in THRESHOLDS]),
    )

"""Whether images that are not what a bundle is for are noticed, and how often others are."""

from dataclasses import dataclass

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.images import SourceImages
from explain.outliers import Known, score
from workers.model import Model
from workers.prediction import predict
from workers.preprocess import prepare
from workers.training.measures import Figure, proportion

LIMIT = 1.0
"""Of the score: see ``explain.outliers``."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Of single images."""

    alarms: Figure
    """Share of the images that the bundle is for, and that were taken for others."""
    noticed: Figure
    """Share of the images that it is not for, and that were noticed."""


def scores(model: Model, known: Known, images: SourceImages) -> FloatArray:
    """(frames,): above 1 is out of scope. Raises what ``prepare`` and ``predict`` raise."""
    prediction, _ = predict(model, prepare(images, model.manifest))
    if prediction.features is None:
        raise UnsupportedModel(
            f"{model.manifest.id} gives no features with its prediction: no score can be made"
        )
    return score(known, prediction.features)


def scope(inside: FloatArray, outside: FloatArray) -> Scope:
    """From scores of images that the bundle is for, and is not for."""
    alarms, noticed = (int((values > LIMIT).sum()) for values in (inside, outside))
    return Scope(proportion(alarms, len(inside)), proportion(noticed, len(outside)))

"""The cases against which the Shapley values of an estimator are told."""

from collections.abc import Iterable

import numpy as np

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.arrays import Arrays
from workers.classical.extractor import Extractor
from workers.classical.features import region
from workers.preprocess import prepare

MOST = 24
"""Vectors: each of them costs an answer for each feature that is told."""


def background(manifest: ModelManifest, series: Iterable[SourceImages]) -> Arrays:
    """For ``reference.npz``: features of at most ``MOST`` images, evenly drawn from all series.

    Raises UnsupportedModel for a manifest without a region.
    """
    plan = manifest.region
    if plan is None:
        raise UnsupportedModel(f"{manifest.id} reads features and names no region: add [region]")
    planes = [plane for images in series for plane in prepare(images, manifest).values[..., 0]]
    within = Extractor.of(plan).within
    chosen = planes[:: max(1, -(-len(planes) // MOST))]
    return {"features": np.stack([within(p, region(p, plan.low, plan.high)) for p in chosen])}

"""From source images to what the network takes, by the steps of the manifest."""

import numpy as np

from dicom_node.domain.errors import UnsupportedModel, Unusable
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.steps import apply
from workers.steps.prepared import Prepared


def prepare(images: SourceImages, manifest: ModelManifest) -> Prepared:
    """Model input of all frames: float32 (frames, rows, columns, channels), and its place.

    Raises UnsupportedGeometry where a step needs millimetres and the images have none,
    UnsupportedModel where the steps do not end in the shape that the manifest promises, and
    Unusable (VALUE) where they end in something that is no number: networks swallow that.
    """
    prepared = apply(Prepared.start(images), manifest.preprocess)
    rows, columns, channels = manifest.input.plane
    if prepared.values.shape[1:3] != (rows, columns):
        raise UnsupportedModel(
            f"the steps of {manifest.id} end in {prepared.grid.inner} pixels and its input takes "
            f"{(rows, columns)}: add or correct its fit or resize step"
        )
    if not np.isfinite(prepared.values).all():
        raise Unusable(
            f"the steps of {manifest.id} make something of these images that is no number: correct "
            "their window at the sender, or the steps",
            code="VALUE",
        )
    copies = channels // prepared.values.shape[-1]
    return prepared.having(np.tile(prepared.values, copies))

"""A bundle on disk -> a model that answers."""

from dicom_node.catalog import CLASSICAL, BundleFolder, confirm
from workers.model import Model


def load_model(bundle: BundleFolder) -> Model:
    """Verify a bundle once more and load it; imports TensorFlow, so call it after the fork.

    Raises CorruptBundle (SIGNATURE, BUNDLE_CODE, BUNDLE_SIZE), UnsupportedModel (MODEL) and
    UnusableOutput (MODEL_OUTPUT).
    """
    confirm(bundle)
    if (bundle.path / CLASSICAL).exists():
        from workers.classical.model import ClassicalModel

        return ClassicalModel.load(bundle)
    from workers.keras_model import KerasModel

    return KerasModel.load(bundle)

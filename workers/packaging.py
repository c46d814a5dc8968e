"""From a Keras model, a manifest and an example to a bundle folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
from pydicom.uid import UID

from dicom_node.catalog import CLASSICAL, BundleFolder, open_bundle, parse_manifest
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.arrays import Arrays
from workers.bundle import refuse_code, write_bundle
from workers.card import refuse_silent
from workers.golden import make_golden
from workers.loading import load_model
from workers.reader import ImageFile
from workers.volume import read_input
from workers.written import refuse_unwritable


def refuse_full(folder: Path) -> None:
    """Raise ConfigurationError where files of another bundle would be mixed with those of a new.

    And where nobody may write: so that this is known before anything long.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already: name a new folder for the bundle")
    refuse_unwritable(folder)


def read_example(files: Sequence[ImageFile], manifest: ModelManifest) -> SourceImages:
    """Images for the golden test.

    Raises ConfigurationError for those of a modality or class that the model never reads, and what
    reading a series raises.
    """
    images, wanted = read_input(files, manifest.input), manifest.selection
    for header in images.datasets:
        modality, kind = str(header.get("Modality")), UID(header.SOPClassUID).keyword
        classes = wanted.sop_classes or (kind,)
        if modality not in wanted.modality or kind not in classes:
            raise ConfigurationError(
                f"the example is {modality} ({kind}), and selection says that {manifest.id} reads "
                f"{' or '.join(wanted.modality)} ({' or '.join(wanted.sop_classes) or 'any'}): "
                "give another example, or correct selection"
            )
    return images


def package(
    folder: Path | str,
    network: keras.Model,
    manifest: str,
    card: str,
    example: Sequence[ImageFile],
    reference: Arrays | None = None,
) -> BundleFolder:
    """Write a bundle whose golden files are the example and what the model says of it.

    ``manifest`` is the text of ``manifest.toml``, ``card`` that of ``card.md``, ``example`` the
    files of one series, or of the views of one study: its pixels go into the bundle, so take none
    of a patient who has not agreed. Raises what reading a series, a manifest and a model raise.
    """
    images = read_example(example, parse_manifest(manifest.encode(), Path(folder)))
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "model.keras"
        network.save(weights)
        return package_file(Path(folder), weights, manifest, card, images, reference)


def package_file(
    folder: Path,
    weights: Path,
    manifest: str,
    card: str,
    example: SourceImages | None,
    reference: Arrays | None = None,
) -> BundleFolder:
    """The same, of a file that Keras or skops wrote and images that were read.

    Without an example it has no golden files, and nobody can see whether it still runs the same.
    A new folder is there whole or not at all. Raises ConfigurationError for a card that leaves out
    what a reader must know, and for a folder as weights; CorruptBundle for a file that is no model.
    """
    refuse_silent(card)
    if weights.is_dir():
        raise ConfigurationError(
            f"{weights.name} is a folder, such as a SavedModel: save the model with "
            "model.save('model.keras')"
        )
    if weights.suffix != Path(CLASSICAL).suffix:
        refuse_code(weights)
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch), manifest, weights, card, reference)
        model = load_model(draft)
        golden = None if example is None else make_golden(model, example)
    if folder.exists() and any(folder.iterdir()):
        return write_bundle(folder, manifest, weights, card, reference, golden)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        whole = write_bundle(
            Path(scratch) / folder.name, manifest, weights, card, reference, golden
        )
        whole.path.replace(folder)
    return open_bundle(folder)

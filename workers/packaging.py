"""From a Keras model, a manifest and an example to a bundle folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras

from dicom_node.catalog import BundleFolder, parse_manifest
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.images import SourceImages
from workers.arrays import Arrays
from workers.bundle import write_bundle
from workers.card import refuse_silent
from workers.golden import make_golden
from workers.loading import load_model
from workers.reader import ImageFile
from workers.volume import read_input


def refuse_full(folder: Path) -> None:
    """Raise ConfigurationError where files of another bundle would be mixed with those of a new."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already: name a new folder for the bundle")


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
    plan = parse_manifest(manifest.encode(), Path(folder)).input
    images = read_input(example, plan)
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
    Raises ConfigurationError for a card that leaves out what a reader must know.
    """
    refuse_silent(card)
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch), manifest, weights, card, reference)
        model = load_model(draft)
        golden = None if example is None else make_golden(model, example)
    return write_bundle(folder, manifest, weights, card, reference, golden)

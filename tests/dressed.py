"""Sources as they come: turned, uneven, compressed, old; as phantoms that any bundle may have."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import sources
from pydicom import uid as uids
from sources import Source, radiograph, stack

from dicom_node.testing.phantom import Phantom

OBLIQUE = (
    (0.9396926, 0.3420201, 0.0),
    (-0.2801648, 0.7697515, 0.5735764),
)
"""Turned by 20 degrees, then tipped by 35."""
DRESS = {
    "PatientID": "PHANTOM-QA-1",
    "SeriesDescription": "T1 with contrast medium",
    "ContrastBolusAgent": "Gadobutrol",
}
"""What the rules of the bundles ask for, beside modality and class."""


def dressed(source: Source) -> Source:
    """With headers that fulfil the rules of every bundle which reads such images."""
    for instance in source.instances:
        for keyword, value in DRESS.items():
            setattr(instance, keyword, value)
    return source


def uneven(given: Phantom) -> Source:
    """Pixels that are not square."""
    between, down, across = given.spacing_mm
    return stack(replace(given, spacing_mm=(between, 1.5 * down, across)))


def tilted(given: Phantom) -> Source:
    """By a gantry: each slice lies a little behind the last."""
    source = stack(given)
    for number, instance in enumerate(source.instances):
        x, y, z = instance.ImagePositionPatient
        instance.ImagePositionPatient = [x, y + 2 * number, z]
    return source


def compressed(source: Source, syntax: str) -> Source:
    """Without loss."""
    for instance in source.instances:
        instance.compress(uids.UID(syntax), generate_instance_uid=False)
    return source


def big_endian(source: Source) -> Source:
    """A transfer syntax that the standard has given up, and archives still hold."""
    for instance in source.instances:
        stored = np.frombuffer(instance.PixelData, "<u2")
        instance.PixelData = stored.astype(">u2").tobytes()
        instance.file_meta.TransferSyntaxUID = uids.ExplicitVRBigEndian
    return source


def unprocessed(given: Phantom) -> Source:
    """Mammograms as the detector gives them."""
    return radiograph(
        given, uids.DigitalMammographyXRayImageStorageForProcessing, "MG", views=2,
        ImageLaterality="L", BodyPartExamined="BREAST",
    )  # fmt: skip


KINDS: Mapping[str, Callable[[Phantom], Source]] = {
    **sources.KINDS,
    "CT oblique": partial(stack, directions=OBLIQUE),
    "CT reversed": partial(stack, reverse=True),
    "CT uneven": uneven,
    "CT tilted": tilted,
    "CT RLE": lambda given: compressed(stack(given), uids.RLELossless),
    "CT JPEG 2000": lambda given: compressed(stack(given), uids.JPEG2000Lossless),
    "CT big endian": lambda given: big_endian(stack(given)),
    "MG RLE": lambda given: compressed(sources.KINDS["MG"](given), uids.RLELossless),
    "MG for processing": unprocessed,
}
"""Sources of every kind, by what is special of them."""
UNREADABLE = {"CT tilted": "GEOMETRY"}
"""Taken by their headers, and refused by their images, with this reason."""
FLAT = {"NM", "US", "US cine", "XA", "CR", "DX", "MG", "MG RLE", "MG for processing"}
"""Those that lie nowhere in the patient."""
MODALITIES = {"PET": "PT"}


def modality(kind: str) -> str:
    """Of a kind of source, by its name."""
    words = (MODALITIES.get(word, word) for word in kind.split())
    return next(word for word in words if len(word) == 2 and word.isupper())

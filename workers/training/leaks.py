"""What a network has seen of a patient it knows again: a split that leaks one measures memory."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import SimpleITK
from PIL import Image

from dicom_node.domain.errors import ConfigurationError
from dicom_node.send.command import dicom_files

if TYPE_CHECKING:
    from workers.training.dataset import Example

REMEDIES = {
    "patient": "give all rows of a patient the same fold, or leave the column out",
    "image": "keep one row of each image, or give its rows the same patient and the same fold",
}
WANTED = ["SOPInstanceUID", "PixelData"]


def refuse_leaks(examples: "Sequence[Example]") -> None:
    """Raise ConfigurationError (DATA_LEAK) for a patient, or an image, in more than one fold.

    Images are one where they have the same SOP Instance UID, or the same pixels: of a folder all
    of them together, as they are stored; of a JPEG its bytes.
    """
    _refuse_twice("patient", ((e.patient, e.fold) for e in examples if e.patient is not None))
    if len({example.fold for example in examples}) > 1:
        _refuse_twice("image", ((key, e.fold) for e in examples for key in _keys(e.image)))


def _refuse_twice(what: str, pairs: Iterable[tuple[str, str]]) -> None:
    folds = defaultdict(set)
    for key, fold in pairs:
        folds[key].add(fold)
    count = sum(len(each) > 1 for each in folds.values())
    if count:
        raise ConfigurationError(
            f"the split leaks: {count} {what}{'s are' if count > 1 else ' is'} in more than one "
            f"fold; {REMEDIES[what]}",
            code="DATA_LEAK",
        )


def _keys(image: Path) -> Iterator[str]:
    """What an image is known by."""
    if not image.is_dir():
        yield _digest(_pixels(image))
        return
    pixels = []
    for file in dicom_files(image):
        dataset = pydicom.dcmread(file, specific_tags=WANTED)
        yield f"UID {dataset.get('SOPInstanceUID', file)}"
        pixels.append(_digest(dataset.get("PixelData") or file.read_bytes()))
    yield _digest("".join(sorted(pixels)).encode())


def _pixels(file: Path) -> bytes:
    """Of a file that reading would refuse, all bytes: it is refused there, by its name."""
    try:
        if file.name.endswith((".nii", ".nii.gz")):
            volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
            return repr((volume.shape, volume.dtype)).encode() + volume.tobytes()
        with Image.open(file) as image:
            if image.format != "JPEG":
                return repr(image.size).encode() + image.convert("F").tobytes()
    except (OSError, RuntimeError):
        pass
    return file.read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

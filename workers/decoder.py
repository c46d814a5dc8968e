"""Decodes compressed pixel data in a process of its own, for a decoder may crash on what it reads.

``python -m`` this module answers requests of ``Decoder``: a DICOM file to read, a file to write
the pixels to.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from dicom_node.sandbox import Sandbox, serve

MEMORY_MIB, TIMEOUT_S = 4096, 120.0


class Decoder:
    """Starts its process at the first image, and again after each crash. For one thread."""

    def __init__(self) -> None:
        self._sandbox = Sandbox("workers.decoder", memory_mib=MEMORY_MIB, timeout_s=TIMEOUT_S)

    def decode(self, dataset: Dataset) -> np.ndarray | None:
        """The stored pixels of all frames; none if no plug-in decodes them.

        Raises ``ChildDied``.
        """
        with TemporaryDirectory() as folder:
            source, target = Path(folder) / "image.dcm", Path(folder) / "pixels.npy"
            dataset.save_as(source)
            if not self._sandbox.ask({"source": str(source), "target": str(target)}):
                return None
            pixels: np.ndarray = np.load(target)
            return pixels


def _decode(request: Mapping[str, str]) -> bool:
    try:
        np.save(request["target"], pixel_array(dcmread(request["source"])))
    except Exception:  # noqa: BLE001 - the bytes are anyone's, and every plug-in has errors of its own
        return False
    return True


if __name__ == "__main__":
    serve(_decode)

"""What is sent in the receive benchmarks, and by whom."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    JPEGLSLossless,
    MRImageStorage,
)

from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import make_study, save_study


@dataclass(frozen=True)
class Traffic:
    """One kind of images, as files."""

    name: str
    files: Sequence[Path]
    option: str = ""
    """What storescu needs to offer the transfer syntax."""

    @property
    def gigabytes(self) -> float:
        """Bytes of all files."""
        return sum(f.stat().st_size for f in self.files) / 1e9


def make_traffic(folder: Path, names: Sequence[str]) -> list[Traffic]:
    """The named kinds: ct, mr, mg, jpegls."""
    return [MAKERS[name](folder / name) for name in names]


def _ct(folder: Path) -> Traffic:
    return Traffic("ct", save_study(make_study(_repeated(40, 10, 512)), folder))


def _mr(folder: Path) -> Traffic:
    attributes = {"SOPClassUID": MRImageStorage, "Modality": "MR"}
    return Traffic(
        "mr", save_study(make_study(_repeated(50, 20, 128), attributes=attributes), folder)
    )


def _mg(folder: Path) -> Traffic:
    attributes = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "Modality": "MG",
    }
    plane = np.random.default_rng(1).integers(-1000, 3000, (1, 4000, 3000), dtype=np.int16)
    source = Phantom(np.repeat(plane, 10, axis=0), (), plane > 0, (1.0, 0.1, 0.1))
    return Traffic("mg", save_study(make_study(source, attributes=attributes), folder))


def _jpegls(folder: Path) -> Traffic:
    study = make_study(_repeated(30, 10, 512))
    for first in study[:30]:
        first.compress(JPEGLSLossless)
    for number, data in enumerate(study[30:], 30):
        _take_pixels(data, study[number % 30])
    return Traffic("jpegls", save_study(study, folder), "-xt")


def _take_pixels(data: Dataset, source: Dataset) -> None:
    data.PixelData = source.PixelData
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGLSLossless


def _repeated(slices: int, times: int, size: int) -> Phantom:
    source = phantom(1, slices=slices, size=size, slice_spacing_mm=2.5)
    return replace(source, hu=np.tile(source.hu, (times, 1, 1)))


MAKERS: dict[str, Callable[[Path], Traffic]] = {
    "ct": _ct,
    "mr": _mr,
    "mg": _mg,
    "jpegls": _jpegls,
}


def storescu(traffic: Traffic, port: int, ae_title: str, associations: int, *, nagle: bool) -> None:
    """Send all files with DCMTK's storescu over so many associations at once."""
    environment = dict(os.environ)
    if not nagle:
        environment["TCP_NODELAY"] = "1"
    senders = [
        subprocess.Popen(
            [
                "storescu", *([traffic.option] if traffic.option else []), "-aec", ae_title,
                "127.0.0.1", str(port), *map(str, traffic.files[start::associations]),
            ],
            env=environment,
        )
        for start in range(associations)
    ]  # fmt: skip
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise RuntimeError("storescu failed")

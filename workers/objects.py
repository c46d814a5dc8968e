"""Whether written objects can be read again: by highdicom or pydicom, and by dciodvfy."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import highdicom as hd
import pydicom
from pydicom import uid as uids

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
READERS: Mapping[str, Callable[[Path], object]] = {
    uids.SegmentationStorage: hd.seg.segread,
    LABEL_MAP: hd.seg.segread,
    uids.ParametricMapStorage: hd.imread,
    uids.SecondaryCaptureImageStorage: hd.imread,
    uids.Comprehensive3DSRStorage: hd.sr.srread,
    uids.ComprehensiveSRStorage: hd.sr.srread,
}


def faults(path: Path) -> Iterator[str]:
    """What is wrong with an object; nothing where both readers take it."""
    try:
        header = pydicom.dcmread(path)
        read = READERS.get(header.SOPClassUID)
        if read is not None:
            read(path)
        if "PixelData" in header or "FloatPixelData" in header:
            _ = header.pixel_array
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
        yield f"{path.name} cannot be read back: {type(error).__name__}: {error}"
    yield from _dciodvfy(path)


def has_dciodvfy() -> bool:
    """Whether the check of dicom3tools is installed."""
    return shutil.which("dciodvfy") is not None


def _dciodvfy(path: Path) -> Iterator[str]:
    program = shutil.which("dciodvfy")
    if program is None:
        return
    done = subprocess.run(  # noqa: S603 - a fixed program on a file of ours
        [program, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    yield from (f"{path.name}: {line}" for line in lines if line.startswith("Error"))

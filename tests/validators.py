"""Validators that others wrote, as functions that return what they complain about.

Every list of known false alarms says why it is one.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

PIXELMED = "/usr/share/java/pixelmed.jar"
Tool = Callable[[str], str]
"""The fixture ``tool``: path of a command line tool."""
UNLIMITED = tuple(
    f"-Djdk.xml.{limit}=0"
    for limit in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
)

DCIODVFY_FALSE_ALARMS: tuple[str, ...] = ()
"""None: what dciodvfy of 2022 does not know yet (Device UID in Contributing Equipment) it reports
as a warning."""
PIXELMED_FALSE_ALARMS: tuple[str, ...] = ()
"""None: rows that PS3.16 gained after 2022 (finding category, presence, visual explanation) come
as warnings, ``Content Item not in template``, for the templates are extensible."""


def dciodvfy(path: Path) -> list[str]:
    """Errors of the IOD check (PS3.3) of one file."""
    lines = _lines(["dciodvfy", "-new", str(path)])
    return _without([line for line in lines if line.startswith("Error")], DCIODVFY_FALSE_ALARMS)


def dcentvfy(paths: Iterable[Path]) -> list[str]:
    """Errors of the check that entities (patient, study, series) agree between files."""
    return [line for line in _lines(["dcentvfy", *map(str, paths)]) if line.startswith("Error")]


def sr_validator(path: Path) -> list[str]:
    """Errors of PixelMed's check of an SR against its templates (PS3.16)."""
    command = ["java", *UNLIMITED, "-cp", PIXELMED, "com.pixelmed.validate.DicomSRValidator"]
    lines = _lines([*command, str(path)])
    assert any("IOD validation complete" in line for line in lines), lines
    return _without([line for line in lines if re.match(r"\s*Error", line)], PIXELMED_FALSE_ALARMS)


def dsrdump(path: Path) -> str:
    """The document as DCMTK reads it, with codes and full texts; raises if it cannot."""
    command = ["dsrdump", "+Pf", "+Pl", "+Pc", "+U8", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _lines(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return (done.stdout + done.stderr).splitlines()


def _without(errors: Sequence[str], false_alarms: Sequence[str]) -> list[str]:
    return [error for error in errors if not any(known in error for known in false_alarms)]

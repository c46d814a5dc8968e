"""``dicom-node send``: files to a peer, with progress and a reason for each that did not arrive."""

import re
from collections import Counter
from pathlib import Path

from pydicom.misc import is_dicom
from rich.console import Console
from rich.progress import track

from dicom_node.domain.errors import ConfigurationError
from dicom_node.send.cstore import Answer, Peer, send

_ADDRESS = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>\[[^\]]+\]|[^:@]+):(?P<port>\d{1,5})")

_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
MOST_PORT = 65535


def parse_address(address: str, calling: str) -> Peer:
    """``AE@HOST:PORT`` as a peer; ``ConfigurationError`` says what it should look like."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) <= MOST_PORT:
        raise ConfigurationError(
            f"{address!r} is no address; write AE@HOST:PORT, as PACS@10.0.0.5:104"
        )
    if not _TITLE.fullmatch(calling):
        raise ConfigurationError(
            f"{calling!r} is no AE title; --calling takes 1 to 16 ASCII characters, no backslash"
        )
    return Peer(match["host"].strip("[]"), int(match["port"]), match["ae"], calling)


def dicom_files(path: Path) -> list[Path]:
    """The DICOM files at a path, in the order of their names; ``ConfigurationError`` if none.

    Without a DICOMDIR: it lists what lies beside it, and belongs to no study.
    """
    candidates = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [p for p in candidates if p.name.upper() != "DICOMDIR" and is_dicom(p)]
    if not files:
        raise ConfigurationError(f"{path}: no DICOM file there (with preamble and DICM prefix)")
    return files


def send_files(path: Path, address: str, calling: str, console: Console) -> bool:
    """Send all files of a path; whether every one arrived. Prints what did not."""
    peer = parse_address(address, calling)
    files = dicom_files(path)
    outcomes = list(
        track(send(peer, files), "sending", total=len(files), console=console, transient=True)
    )
    for outcome in outcomes:
        if outcome.answer is not Answer.SENT:
            console.print(f"{outcome.file}: {outcome.answer} {outcome.reason}", markup=False)
    counts = Counter(outcome.answer for outcome in outcomes)
    console.print(f"{counts[Answer.SENT]} of {len(files)} files arrived at {address}", markup=False)
    return counts[Answer.SENT] == len(files)

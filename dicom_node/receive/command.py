"""``dicom-node import``: files of this machine into the node, with progress and reasons."""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from dicom_node.domain.errors import ConfigurationError
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.receive.folder import LATER, WatchedFolder, dicom_files, take_file
from dicom_node.receive.intake import Intake, Outcome
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore

LOOK_S, PAUSE_S = 2.0, 30.0
"""Between two looks at a watched folder, and when the node itself could take nothing more."""
Results = Sequence[tuple[Path, Outcome]]


def open_intake(settings: Settings) -> Intake:
    """Into the store and the ledger of the settings."""
    store, ledger = InstanceStore(settings.store_dir), Ledger.open(settings.ledger_url)
    return Intake(store, ledger, reserve_mib=settings.listen.reserve_mib, role="import")


def import_files(path: Path, intake: Intake, console: Console) -> bool:
    """Take all DICOM files of a path; whether every one was taken. Prints what was not."""
    files, others = dicom_files(path)
    if not files:
        raise ConfigurationError(f"{path}: no DICOM file there (with preamble and DICM prefix)")
    progress = Console(stderr=True)
    results = [
        (file, take_file(intake, file))
        for file in track(files, "importing", console=progress, transient=True)
    ]
    show(results, console)
    if others:
        console.print(f"{others} others are no DICOM files, or a DICOMDIR", markup=False)
    return not any(outcome.status for _, outcome in results)


def show(results: Results, console: Console) -> None:
    """What became of how many files, why, and what to do."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "files", "reason", "what to do", "first"):
        table.add_column(column, overflow="fold")
    counts = Counter(outcome.code for _, outcome in results)
    firsts = {outcome.code: (file, outcome) for file, outcome in reversed(results)}
    for code, count in counts.most_common():
        file, outcome = firsts[code]
        what = "[red]refused[/]" if outcome.status else "[green]taken[/]"
        table.add_row(what, str(count), code, Text(outcome.advice), Text(str(file)))
    console.print(table)
    taken = sum(not outcome.status for _, outcome in results)
    console.print(f"{taken} of {len(results)} files taken", markup=False)


def watch(folder: Path, intake: Intake, stop: threading.Event) -> None:
    """Take what comes into a folder until told to stop."""
    watched = WatchedFolder(folder, intake)
    log("import").info("import.ready")
    pause = 0.0
    while not stop.wait(pause):
        results = watched.once()
        if taken := sum(not outcome.status for _, outcome in results):
            log("import").info("import.taken", count=taken)
        full = any(outcome.code in LATER for _, outcome in results)
        pause = PAUSE_S if full else LOOK_S

"""Files of this machine, taken as they are or watched for; what is taken passes the ``Intake``."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_node.domain.errors import ConfigurationError
from dicom_node.observe import log
from dicom_node.receive.intake import Draft, Intake, Outcome
from dicom_node.receive.part10 import PREAMBLE, PREFIX
from dicom_node.watch import Watch

SOURCE = "IMPORT"
"""Stands where a calling AE title would."""
CHUNK = 1 << 20
SETTLE_S = 10.0
"""A watched file is whole when its size and time have stood still for so long."""
TAKEN, REFUSED = "taken", "refused"
"""Where a watched file is moved to, inside the watched folder."""
LATER = frozenset({"NO_SPACE", "HIGH_WATER", "LEDGER_BUSY", "STORAGE_IO"})
"""Refusals for the node's sake, not the file's: it stays where it is, and is tried again."""


def dicom_files(path: Path) -> tuple[list[Path], int]:
    """The DICOM files at a path by their names, and how many others there are.

    A file that is named itself is always one of them; a DICOMDIR, which only lists others, never.
    """
    if not path.is_dir():
        return [path], 0
    files = sorted(file for file in path.rglob("*") if file.is_file())
    found = [file for file in files if file.name.upper() != "DICOMDIR" and _has_prefix(file)]
    return found, len(files) - len(found)


def _has_prefix(file: Path) -> bool:
    """What cannot be opened counts, so that it is told of."""
    try:
        with file.open("rb") as stream:
            return stream.read(PREAMBLE + 4)[PREAMBLE:] == PREFIX
    except OSError:
        return True


def take_file(intake: Intake, file: Path) -> Outcome:
    """Take one file; it stays where it is."""
    try:
        draft = _copied(intake, file)
    except OSError as error:
        return _unreadable(error)
    return intake.take(draft, source=SOURCE)


def _copied(intake: Intake, file: Path) -> Draft:
    """Our own copy, which nobody changes between check and store."""
    draft = intake.draft()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            draft.write(chunk)
    return draft


def _unreadable(error: OSError) -> Outcome:
    log("import").warning("store.reject", reason="FILE_UNREADABLE", error=type(error).__name__)
    return Outcome("", "", 0x0110, "FILE_UNREADABLE", "check the file's owner and rights")


class WatchedFolder:
    """Takes every file that has stopped changing, then moves it to ``taken`` or ``refused``."""

    def __init__(
        self, folder: Path, intake: Intake, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder: --watch needs one that exists")
        self._folder = folder
        self._intake = intake
        self._clock = clock
        self._watch = Watch()
        self._done: dict[Path, tuple[int, int]] = {}
        """Files that could not be moved away, as they were."""

    def once(self) -> list[tuple[Path, Outcome]]:
        """Look once; what was done with which file."""
        found = {file: state for file in self._files() if (state := _state(file))}
        self._watch.keep_only(found)
        self._done = {file: was for file, was in self._done.items() if file in found}
        now = self._clock()
        still = [
            (file, state)
            for file, state in found.items()
            if self._watch.still_s(file, state, now) >= SETTLE_S and self._done.get(file) != state
        ]
        return [(file, outcome) for file, state in still if (outcome := self._take(file, state))]

    def _files(self) -> Iterator[Path]:
        """Hidden files are those that others are still writing, or none of ours.

        What was taken is not looked through again, however much it is by now.
        """
        for folder, below, names in os.walk(self._folder):
            done = {TAKEN, REFUSED} if Path(folder) == self._folder else set()
            below[:] = sorted(name for name in below if name[0] != "." and name not in done)
            files = (Path(folder, name) for name in sorted(names) if name[0] != ".")
            yield from (file for file in files if file.is_file())

    def _take(self, file: Path, state: tuple[int, int]) -> Outcome | None:
        """None where it has changed again."""
        try:
            draft = _copied(self._intake, file)
        except OSError as error:
            outcome = _unreadable(error)
        else:
            if _state(file) != state:
                draft.discard()
                return None
            outcome = self._intake.take(draft, source=SOURCE)
        if outcome.code not in LATER:
            self._put_away(file, state, REFUSED if outcome.status else TAKEN)
        return outcome

    def _put_away(self, file: Path, state: tuple[int, int], where: str) -> None:
        place = self._folder / where / file.relative_to(self._folder)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(_free_name(place))
        except OSError as error:
            self._done[file] = state
            log("import").warning("import.stays", reason="FILE_STUCK", error=type(error).__name__)


def _free_name(place: Path) -> Path:
    """A name that no file has: nothing is ever overwritten."""
    names = (place.with_name(f"{place.name}.{number}") for number in itertools.count(1))
    return next(name for name in itertools.chain([place], names) if not name.exists())


def _state(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

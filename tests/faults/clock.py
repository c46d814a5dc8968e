"""The wall clock of processes, which a test moves while they run: libfaketime in front of libc.

Clocks that only count on stay as they are, as they do where an administrator, NTP or a virtual
machine sets the time.
"""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Clock:
    """How far the clock of all who have its ``environment`` is off."""

    folder: Path
    library: str

    def __post_init__(self) -> None:
        self.move(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the processes that live by it."""
        return {
            "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_RESET": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1", "LD_PRELOAD": self.library,
        }  # fmt: skip

    def move(self, seconds: int) -> None:
        """From now on it is off by so much; nobody reads half of a file."""
        fresh = self.folder / "shift.new"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / "shift"


def clock(folder: Path, tool: Callable[[str], str]) -> Clock:
    """A clock that is right, and stands in a file of this folder."""
    found = subprocess.run(
        [tool("faketime"), "now", "printenv", "LD_PRELOAD"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Clock(folder, found.stdout.strip())

"""How long light commands take to start, beside an interpreter that does nothing."""

import subprocess
import sys
from collections.abc import Iterator

from measure import Row, in_turn, row, seconds

FLOOR = "python -c pass"
COMMANDS = {"help": ["--help"], "config": ["config", "show"]}


def rows() -> Iterator[Row]:
    """Seconds from start to exit."""
    candidates = {
        name: _timed(["-P", "-m", "dicom_node", *args]) for name, args in COMMANDS.items()
    }
    figures = in_turn({**candidates, FLOOR: _timed(["-c", "pass"])})
    for name in COMMANDS:
        yield row(figures, name, f"start.{name}.seconds", "s", FLOOR)


def _timed(arguments: list[str]):
    command = [sys.executable, *arguments]
    return lambda: seconds(lambda: subprocess.run(command, check=True, capture_output=True))

"""Packages of npm beside their lock files, installed where they are not yet."""

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path


def installed(folder: Path, package: str, tool: Callable[[str], str]) -> Path:
    """The package within ``folder``; of tests that run side by side one installs it."""
    found = folder / "node_modules" / package
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.is_dir():
            command = [tool("npm"), "ci", "--ignore-scripts", "--silent", "--prefix", str(folder)]
            subprocess.run(command, check=True, timeout=120, env={**os.environ, "CI": "1"})
    return found

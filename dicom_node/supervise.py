"""Runs the roles of a node as processes: starts them, restarts what dies, stops all of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.domain.errors import ConfigurationError
from dicom_node.observe import log

FIRST_PAUSE_S, LONGEST_PAUSE_S, STABLE_S = 0.5, 30.0, 60.0
GRACE_S = 20.0
BAD_CONFIGURATION = 2
"""Exit status of a role whose settings do not allow it to start: no restart will help."""


@dataclass(frozen=True)
class Role:
    """One process of the node."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    output: Path | None = None
    """Where what it prints goes; none: where ours goes."""


class _Child:
    def __init__(self, role: Role) -> None:
        self.role = role
        self.pause_s = FIRST_PAUSE_S
        self.start_at = 0.0
        self.start()

    def start(self) -> None:
        launcher = [sys.executable, "-P", "-m", "dicom_node.launch", str(os.getpid())]
        output = self.role.output.open("ab") if self.role.output else None
        self.process = subprocess.Popen(  # noqa: S603 - the commands are our own
            [*launcher, *self.role.command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONSAFEPATH": "1", **self.role.environment},
            start_new_session=True,
        )
        if output is not None:
            output.close()
        if self.process.stdin is not None:
            self.process.stdin.write(self.role.stdin.encode())
            self.process.stdin.close()
        self.started = time.monotonic()

    def signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


class Supervisor:
    """The processes of a node. Start, check and stop from one thread that lives as long as they."""

    def __init__(self) -> None:
        self._children: list[_Child] = []
        self._log = log("serve")

    def start(self, role: Role) -> None:
        """Start a role; it is restarted when it ends."""
        self._children.append(_Child(role))

    def check(self) -> None:
        """Restart what has ended, after a pause that grows.

        Raises ``ConfigurationError`` when a role says that its settings are wrong.
        """
        now = time.monotonic()
        for child in self._children:
            if child.process.poll() is not None:
                self._revive(child, now)

    def _revive(self, child: _Child, now: float) -> None:
        status = child.process.returncode
        if status == BAD_CONFIGURATION:
            raise ConfigurationError(f"{child.role.name} cannot start; its message is above")
        if child.start_at == 0.0:
            self._log.error("role.ended", role=child.role.name, status=status)
            if now - child.started > STABLE_S:
                child.pause_s = FIRST_PAUSE_S
            child.start_at = now + child.pause_s
            child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)
        elif now >= child.start_at:
            child.signal_group(signal.SIGKILL)  # what the dead one left behind
            child.start_at = 0.0
            child.start()

    def stop(self) -> None:
        """Stop all, last started first: ask, wait, then kill whole process groups."""
        for child in reversed(self._children):
            child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child in reversed(self._children):
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._log.warning("role.killed", role=child.role.name)
            child.signal_group(signal.SIGKILL)
            child.process.wait()
        self._children.clear()

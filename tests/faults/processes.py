"""Roles of the node as processes that can be killed, forked from a server that has imported it."""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PACK_BYTES = 1 << 20
"""Small packs are soon full."""
PATIENCE_S = 30.0
CONTEXT = get_context("forkserver")
STARTED: list[BaseProcess] = []
CONTEXT.set_forkserver_preload(
    [
        "alembic.command",
        "dicom_node.cli",
        "dicom_node.erasing",
        "dicom_node.ledger.migrations",
        "dicom_node.receive.command",
        "dicom_node.receive.listener",
        "dicom_node.receive.inquiry",
        "dicom_node.roles",
        "dicom_node.sweep",
        "dicom_node.web.app",
        "workers.app",
        "workers.bootstrap",
        "workers.tasks",
    ]
)


@dataclass
class Running:
    """A role in a process of its own."""

    process: BaseProcess
    log: Path

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self.process.pid is not None
        return self.process.pid

    def ended(self, within_s: float = 0) -> bool:
        """Whether the process has ended, or ends in time."""
        self.process.join(within_s)
        return self.process.exitcode is not None

    def ready(self, event: str = "listen.ready") -> bool:
        """Wait for a line of the log; false when the process ended instead."""
        wait_until(lambda: self.ended() or event in self.log.read_text(), event)
        return event in self.log.read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; wait for the end that it means."""
        if not self.ended():
            os.kill(self.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            assert self.ended(PATIENCE_S), "the process does not end"

    def children(self) -> set[int]:
        """Process ids."""
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        return {int(child) for each in lists for child in each.read_text().split()}

    def kill_family(self) -> None:
        """SIGKILL to the process and its children."""
        family = self.children()
        self.kill()
        for child in family:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def start(role: str, config: Path, plan: str = "") -> Running:
    """Start a role with a fault plan."""
    log = config.parent / f"{role}-{time.monotonic_ns()}.log"
    log.touch()
    process = CONTEXT.Process(target=_become, args=[role, str(config), plan, str(log)])
    process.start()
    STARTED.append(process)
    return Running(process, log)


def launch(role: str, config: Path, environment: Mapping[str, str]) -> Running:
    """Start a role with an environment of its own; whoever calls ends it."""
    log = config.parent / f"{role}-{time.monotonic_ns()}.log"
    log.touch()
    process = get_context("spawn").Process(target=_become, args=[role, str(config), "", str(log)])
    with _environment(environment):
        process.start()
    return Running(process, log)


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def is_stopped(pid: int) -> bool:
    """Whether a process is frozen by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def kill_all() -> None:
    """End what a failed test left running."""
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.join()


def wait_until(true: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> float:
    """Wait for a condition; returns how long it took, fails when it took too long."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"waited {within_s} s for {what}"
        time.sleep(0.01)
    return time.monotonic() - began


def _sleep(seconds: float) -> None:
    """libfaketime 0.9.10 refuses the absolute times that Python's own sleep gives to the system."""
    select.select([], [], [], seconds)


def _become(role: str, config: str, plan: str, log: str) -> None:
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        time.sleep = _sleep
    from dicom_node import cli, faults, roles
    from dicom_node.observe import set_up_logging
    from dicom_node.receive.packs import Packs
    from dicom_node.settings.sources import load_settings

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # end with the server that forked us
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    defaults = Packs.__init__.__kwdefaults__
    assert defaults is not None
    defaults["pack_bytes"] = PACK_BYTES
    path = Path(config)
    settings = load_settings(path)
    set_up_logging(settings.log)
    faults.arm(plan)
    if role == "listen":
        roles.run_listener(settings, path, None)
    elif role == "sweep":
        roles.run_sweep(settings)
    elif role == "web":
        roles.run_web(settings)
    elif role == "import":
        os.kill(os.getpid(), signal.SIGSTOP)  # until whoever looks at it is ready
        sys.argv = ["dicom-node", role, str(path.parent / "files"), "--config", config]
        cli.main()
    elif role == "tidy":
        import tidying

        tidying.tidy(settings)
    elif role == "worker":
        import stand_in

        from workers import app, bootstrap, tasks, warm

        tasks.TRANSIENT_PAUSE_S = 0.2
        bootstrap.Worker.run = stand_in.analyse  # type: ignore[method-assign]
        warm.warm_up = lambda _: None
        os._exit(app.run_worker(settings, ["analyse", "deliver"]))

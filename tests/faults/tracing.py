"""``strace`` on a running process: what it asked of the system, and errors put in its way."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)")
NAMING = (
    "openat,?open,?creat,?openat2,renameat2,?renameat,?rename,?mkdir,mkdirat,?link,linkat,?symlink,"
    "symlinkat,?unlink,unlinkat,?rmdir,?mknod,mknodat,truncate,?chmod,fchmodat,?chown,fchownat"
)
"""Calls that take the name of what they open, make, move or remove."""
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)(.*)$")


@dataclass
class Trace:
    """The calls, as strace writes them; a call that waited stands where it came back."""

    file: Path

    def calls(self) -> Iterator[tuple[str, str]]:
        """(name, arguments and result) in the order of completion."""
        begun: dict[str, str] = {}
        for line in self.file.read_text(errors="replace").splitlines():
            thread = line.partition(" ")[0]
            if line.endswith("<unfinished ...>"):
                begun[thread] = line
            elif (found := CALL.match(line)) and "resumed>" in line:
                yield found[1], begun.pop(thread, "") + line
            elif found:
                yield found[1], found[2]

    def changed(self, cwd: Path) -> Iterator[Path]:
        """What was opened for writing, made, moved or removed; with ``trace={NAMING}``."""
        for name, rest in self.calls():
            if name.startswith(("open", "creat")) and not WRITES.search(rest + name):
                continue
            for folder, path in re.findall(r'(?:<([^>]*)>, )?"((?:[^"\\\\]|\\\\.)*)"', rest):
                yield Path(os.path.normpath(Path(folder or cwd, path)))

    @property
    def injected(self) -> int:
        """How many calls were answered with an error of ours."""
        return self.file.read_text(errors="replace").count("(INJECTED)")


@contextmanager
def traced(program: str, pid: int, file: Path, *options: str) -> Iterator[Trace]:
    """Trace a process and its threads while the block runs."""
    command = [program, "-f", "-y", "-s", "24", "-o", str(file), *options, "-p", str(pid)]
    messages = file.with_suffix(".messages")  # a line a thread: a pipe that nobody reads fills up
    with messages.open("wb") as stderr:
        tracer = subprocess.Popen(command, stderr=stderr)
    try:
        _wait_for_attachment(tracer, messages)
        yield Trace(file)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)


def _wait_for_attachment(tracer: "subprocess.Popen[bytes]", messages: Path) -> None:
    deadline = time.monotonic() + 10
    while "attached" not in (said := messages.read_text()):
        waits = tracer.poll() is None and time.monotonic() < deadline
        assert waits, f"strace did not attach: {said}"
        time.sleep(0.01)


def injecting(calls: Sequence[str], error: str, when: str) -> list[str]:
    """Options that make calls fail."""
    names = ",".join(calls)
    return ["-e", f"trace={names}", "-e", f"inject={names}:error={error}:when={when}"]

"""Programs that answer one line after the other: they take longer to start than to answer."""

import subprocess
from dataclasses import dataclass, field
from threading import Lock

END = "====\n"


@dataclass
class Servant:
    """A program that is started when it is first asked, and ends with the tests."""

    command: tuple[str, ...]
    process: subprocess.Popen[str] | None = None
    lock: Lock = field(default_factory=Lock)

    def ask(self, line: str) -> list[str]:
        """What it says up to its line ``END``; raises where it ends instead."""
        with self.lock:
            if self.process is None:
                pipe = subprocess.PIPE
                self.process = subprocess.Popen(
                    self.command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True,
                    errors="replace",
                )  # fmt: skip
            return list(_answer(self.process, line))


def _answer(process, line):
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    said = []
    while (read := process.stdout.readline()) != END:
        if not read:
            raise RuntimeError("".join(said))
        said.append(read)
    return [each.rstrip("\n") for each in said]

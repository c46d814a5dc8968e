"""A child process that looks at hostile bytes in our place, with little memory and little time.

Requests and answers are JSON lines, so that whatever takes over the child can hand us data, never
code. A child that dies, hangs or lies is killed and replaced; the caller hears of which request.
"""

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from dicom_node.domain.errors import Unusable

LONGEST_ANSWER = 64 << 20
START_S = 120.0
"""To start Python and load modules: a machine that has much to do must not refuse good images."""
UP = b"{}\n"
"""The first line of a child."""


class ChildDied(Unusable):
    """The child did not survive a request, or not in time."""

    code = "DECODER"


class Sandbox:
    """Starts its child at the first request, and again after each death. For one thread.

    ``files``: open ones that the child may use, too, under the same numbers.
    """

    def __init__(
        self, module: str, *, memory_mib: int, timeout_s: float, files: Sequence[int] = ()
    ) -> None:
        self._module = module
        self._files = files
        self._memory_mib = memory_mib
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def ask(self, request: Any) -> Any:
        """The child's answer. Raises ``ChildDied``."""
        try:
            return self._exchange(self._child or self._start(), request)
        except (OSError, ValueError, EOFError, TimeoutError) as error:
            self.close()
            raise ChildDied(
                f"the reading process did not survive a request ({type(error).__name__})"
            ) from error
        except BaseException:
            self.close()  # else its answer would be taken for that of the next request
            raise

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._child, self._rest = None, b""

    def _start(self) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-P", "-m", "dicom_node.launch", str(os.getpid())]
        command = [sys.executable, "-P", "-m", self._module]
        command += [str(self._memory_mib), str(ceil(self._timeout_s))]
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [*launcher, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=self._files,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        self._line(self._child, START_S)
        return self._child

    def _exchange(self, child: subprocess.Popen[bytes], request: Any) -> Any:
        assert child.stdin is not None  # noqa: S101
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        return json.loads(self._line(child, self._timeout_s))

    def _line(self, child: subprocess.Popen[bytes], timeout_s: float) -> bytes:
        assert child.stdout is not None  # noqa: S101
        handle = child.stdout.fileno()
        answer = bytearray()
        while b"\n" not in answer[-65536:]:
            if not select.select([handle], [], [], timeout_s)[0]:
                raise TimeoutError
            chunk = os.read(handle, 65536)
            if not chunk:
                raise EOFError
            answer += chunk
            if len(answer) > LONGEST_ANSWER:
                raise ValueError("too long an answer")
        return bytes(answer)


def _limit_cpu(seconds: int) -> None:
    """From now on; a parent that is frozen could not end us."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def serve(answer: Callable[[Any], Any]) -> None:
    """The child's side: limit ourselves, then answer line after line until the parent goes."""
    limit = int(sys.argv[1]) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # files in memory are memory, too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(UP)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        _limit_cpu(int(sys.argv[2]))
        sys.stdout.buffer.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()

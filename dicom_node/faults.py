"""Fault points: the moments at which the fault campaign ends a process. Off unless armed.

``DICOM_NODE_FAULT="pack.synced:3"`` ends the process with SIGKILL when it passes that point for
the third time; ``pack.synced:3:SEGV`` with another signal (STOP freezes it), ``:MEMORY`` raises
``MemoryError`` there, ``:HANG`` never returns. See tests/faults.
"""

import os
import signal
import threading
import time

_name, _left, _action = "", 0, ""


def arm(plan: str) -> None:
    """Set the point, the passage and the action; an empty plan disarms."""
    global _name, _left, _action
    name, count, action, *_ = *plan.split(":"), "", "", ""
    _name, _left, _action = name, int(count or 1), action or "KILL"


def point(name: str) -> None:
    """Pass a point."""
    if name == _name:
        _reach()


def _reach() -> None:
    global _left
    _left -= 1
    if _left != 0:
        return
    if _action == "MEMORY":
        raise MemoryError
    if _action == "HANG":
        while True:
            time.sleep(3600)
    number = signal.Signals[f"SIG{_action}"]
    signal.pthread_kill(threading.get_ident(), number)  # else this thread might run on for a while


arm(os.environ.get("DICOM_NODE_FAULT", ""))

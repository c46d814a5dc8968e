"""Work beside the main thread, for as long as a block runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[threading.Event], None], name: str, end_s: float = 0) -> Iterator[None]:
    """Run ``work`` in a thread; at the end of the block its event is set, and ``end_s`` waited."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=[stop], name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(end_s)

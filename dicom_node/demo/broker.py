"""An in-process stand-in for Redis, for the demo alone: its messages are gone when it ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fakeredis import TcpFakeServer

from dicom_node.redis_server import free_port


@contextmanager
def in_process_broker() -> Iterator[str]:
    """URL of a server that speaks enough of Redis for Celery, on a loopback port."""
    port = free_port()
    server = TcpFakeServer(("127.0.0.1", port), server_type="redis")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.shutdown()
        server.server_close()

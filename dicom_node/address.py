"""Addresses that the node listens on: why one cannot be had, and what to do."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dicom_node.domain.errors import CannotListen

ADVICE = {
    errno.EADDRINUSE: "another program listens there: stop it, or set another {section}.port",
    errno.EACCES: "ports below 1024 are for root: set another {section}.port, or allow this one "
    "(systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
}
ELSEWHERE = "it is no address of this machine: correct {section}.host"


@contextmanager
def listening(section: str, host: str, port: int) -> Iterator[None]:
    """Turn an ``OSError`` of the block into ``CannotListen``; ``section`` is of the settings."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, ELSEWHERE).format(section=section)
        raise CannotListen(f"cannot listen on {host}, port {port}: {advice}") from error


def check_free(section: str, host: str, port: int) -> None:
    """Raise ``CannotListen`` where nobody could listen; for a server that would not say why.

    A name may have an address of a family that this machine does without.
    """
    with listening(section, host, port):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        errors = [error for family, *_, where in found if (error := _try(family, where))]
        certain = [error for error in errors if error.errno in ADVICE]
        if certain or len(errors) == len(found):
            raise (certain or errors)[0]


def _try(family: int, where: Any) -> OSError | None:
    try:
        socket.create_server(where[:2], family=family).close()
    except OSError as error:
        return error
    return None

"""A ``redis-server`` of our own on this machine, with an append-only file and a password."""

import secrets
import shutil
import socket
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from dicom_node.domain.errors import BrokerUnavailable
from dicom_node.supervise import Role

PROGRAMS = ("redis-server", "valkey-server")
START_TIMEOUT_S = 20


def find_program() -> str | None:
    """The server's program on PATH, if there is one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_role(program: str, folder: Path) -> tuple[Role, str]:
    """The process to run, and the URL it will have."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, password = free_port(), secrets.token_hex(16)
    configuration = f"""
bind 127.0.0.1
port {port}
requirepass {password}
dir {_quoted(folder.absolute())}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
logfile ""
loglevel warning
"""
    role = Role("redis", [program, "-"], stdin=configuration, output=folder / "redis.log")
    return role, f"redis://:{password}@127.0.0.1:{port}/0"


def _quoted(folder: Path) -> str:
    """As Redis reads it: a name may have spaces."""
    return '"' + str(folder).replace("\\", r"\\").replace('"', r"\"") + '"'


def wait_for(url: str) -> None:
    """Return once the server answers PING; ``BrokerUnavailable`` after 20 s."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
            except RedisError:
                time.sleep(0.05)
            else:
                return
    raise BrokerUnavailable(
        "redis-server did not start within 20 s; see redis.log in data_dir/redis"
    )

"""``dicom-node serve``: every role of the node on one machine, under one supervisor."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from dicom_node.domain.errors import ConfigurationError
from dicom_node.ledger import Ledger
from dicom_node.redis_server import find_program, redis_role, wait_for
from dicom_node.settings.node import Settings
from dicom_node.supervise import Role, Supervisor

CHECK_S = 0.5


@contextmanager
def running(
    settings: Settings, config: Path | None, *, one_worker: bool = False, output: Path | None = None
) -> Iterator[Supervisor]:
    """All roles, started; stopped at the end of the block.

    ``one_worker`` runs one Celery worker for both queues instead of one each. ``output`` takes
    what the roles print. Raises ``ConfigurationError`` where the node cannot start.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(settings.data_dir):
        Ledger.open(settings.ledger_url).close()  # brings it up to date, before all who open it
        supervisor = Supervisor()
        try:
            broker_url = _start_broker(settings, supervisor)
            for role in _roles(config, broker_url, one_worker, output):
                supervisor.start(role)
            yield supervisor
        finally:
            supervisor.stop()


def serve(settings: Settings, config: Path | None, stop: Event) -> None:
    """Run until ``stop`` is set."""
    with running(settings, config) as supervisor:
        while not stop.wait(CHECK_S):
            supervisor.check()


def _start_broker(settings: Settings, supervisor: Supervisor) -> str:
    if settings.broker.url is not None:
        return settings.broker_url
    program = find_program()
    if program is None:
        raise ConfigurationError(
            "no broker: redis-server is not on PATH. Install it (Debian: apt install redis-server) "
            "or set broker.url to a Redis that runs elsewhere"
        )
    role, url = redis_role(program, settings.data_dir / "redis")
    supervisor.start(role)
    wait_for(url)
    return url


def _roles(
    config: Path | None, broker_url: str, one_worker: bool, output: Path | None
) -> list[Role]:
    options = ["--config", str(config.absolute())] if config else []
    environment = {"DICOM_NODE__BROKER__URL": broker_url}
    queues = ["analyse,deliver"] if one_worker else ["analyse", "deliver"]
    commands = [(name, ["dicom_node", name]) for name in ("listen", "sweep", "web")]
    commands += [(f"worker {q}", ["workers", "run", "--queues", q]) for q in queues]
    return [
        Role(name, [sys.executable, "-P", "-m", *command, *options], environment, output=output)
        for name, command in commands
    ]


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Refuse to run two nodes over one data folder."""
    with (data_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another node runs over {data_dir}: stop it, or give this one another data_dir"
            ) from None
        yield

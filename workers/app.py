"""The Celery worker: prefork, one task at a time, TensorFlow in the child alone.

The settings answer measured faults: late acks so that a lost worker's message comes again, no
rejection on a lost child (it loops without end; the ledger counts attempts instead), no prefetch,
no result backend, no countdown (the ledger's ``next_at`` decides), limits that replace a child
which hangs. See ``dicom_node.broker`` for what rings and workers share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

from billiard.exceptions import TimeLimitExceeded
from celery import Celery, bootsteps, signals

from dicom_node.alive import beat
from dicom_node.broker import ANALYSE, celery_app
from dicom_node.ledger import Ledger
from dicom_node.ledger.roles import BEAT_S
from dicom_node.observe import log, set_up_logging
from dicom_node.settings.node import Settings
from workers.tasks import TIME_LIMIT, free_hung, register

if TYPE_CHECKING:
    from workers.bootstrap import Worker


def make_app(settings: Settings) -> Celery:
    """The application with its tasks, set up for a worker."""
    app = celery_app(settings.broker_url)
    worker = settings.worker
    visibility_s = 2 * worker.hard_limit_s
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=60,
        worker_proc_alive_timeout=worker.hard_limit_s,
        worker_max_tasks_per_child=worker.tasks_per_child,
        worker_max_memory_per_child=worker.memory_mib * 1024,
        task_soft_time_limit=worker.soft_limit_s,
        task_time_limit=worker.hard_limit_s,
        visibility_timeout=visibility_s,
        broker_channel_error_retry=True,
    )
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": visibility_s,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    }
    app.made_in_child = register(app, settings)
    return app


def run_worker(settings: Settings, queues: Sequence[str]) -> int:
    """Work until told to stop; returns the exit status."""
    signals.setup_logging.connect(_keep_our_logging, weak=False)
    set_up_logging(settings.log)
    Ledger.open(settings.ledger_url).close()
    app = make_app(settings)
    if "analyse" in queues:
        signals.worker_process_init.connect(_warming(app.made_in_child), weak=False)
    signals.task_failure.connect(_on_failure(settings.ledger_url), weak=False)
    app.steps["worker"].add(_sign_of_life(settings.ledger_url, f"worker-{'-'.join(queues)}"))
    worker = app.Worker(
        queues=",".join(queues), hostname=f"{'-'.join(queues)}@%h", without_gossip=True,
        without_mingle=True, optimization="fair", loglevel="ERROR", quiet=True,
    )  # fmt: skip
    assert "tensorflow" not in sys.modules  # noqa: S101 - a model of the parent hangs the child
    log("worker").info("worker.ready", kind=",".join(queues))
    worker.start()
    return int(worker.exitcode or 0)


def _sign_of_life(ledger_url: str, role: str) -> type[bootsteps.StartStopStep]:
    """A step that beats from the worker's own loop.

    No thread, and no connection that stays open: the loop forks the children, and neither a lock
    nor an SQLite file handle may be taken over by them.
    """
    started = time.time()

    def say() -> None:
        ledger = Ledger.open(ledger_url)
        beat(ledger, role, started)
        ledger.close()

    class SignOfLife(bootsteps.StartStopStep):  # type: ignore[misc]
        requires: ClassVar = {"celery.worker.components:Timer"}

        def start(self, worker: Any) -> None:
            say()
            worker.timer.call_repeatedly(BEAT_S, say)

    return SignOfLife


def _on_failure(ledger_url: str) -> Callable[..., None]:
    """Tells of a child that hangs, before Celery kills it."""

    def tell(sender: Any, exception: BaseException, args: Sequence[str] = (), **_: object) -> None:
        if not isinstance(exception, TimeLimitExceeded):
            return
        log("worker").error("worker.hung", job=args[0], reason=TIME_LIMIT)
        if sender.name == ANALYSE:
            with closing(Ledger.open(ledger_url)) as ledger:
                free_hung(ledger, args[0], exception)

    return tell


def _warming(worker: Callable[[], Worker]) -> Callable[..., None]:
    """In the child: the parent must not touch a model."""

    def warm(**_: object) -> None:
        from workers.warm import warm_up

        warm_up(worker())

    return warm


def _keep_our_logging(**_: object) -> None:
    """Celery leaves the loggers alone when this signal has a receiver."""

"""What each light process of a node does until it is told to stop.

Each imports what it needs and no more: a listener that brought Celery along would be a quarter
larger.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dicom_node.alive import SignOfLife
from dicom_node.domain.errors import LedgerBusy
from dicom_node.ledger import Ledger
from dicom_node.observe import log
from dicom_node.settings.listen import Listen
from dicom_node.settings.node import Settings
from dicom_node.store import InstanceStore

CHECK_S = 0.5
LAST_WORDS_S = 0.5
"""For the refusals that are on their way."""


def stop_event() -> threading.Event:
    """Set once SIGTERM or SIGINT arrives."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def run_listener(settings: Settings, config: Path | None, index: int | None) -> None:
    """Accept associations until told to stop.

    Without an ``index``, and where the settings ask for several processes on the one port, start
    them and watch over them.
    """
    stop = stop_event()
    if index is None and settings.listen.processes > 1:
        _run_listeners(settings.listen, config, stop)
        return
    from dicom_node.receive.listener import Listener

    ledger = Ledger.open(settings.ledger_url)
    number = index or 0
    listener = Listener(
        settings.listen,
        settings.store_dir,
        ledger,
        index=number,
        expect=settings.completeness.expect,
        proves=any(d.proof == "commitment" for d in settings.destinations),
        on_failure=stop.set,
    )
    with SignOfLife(ledger, f"listen-{number}" if number else "listen"):
        listener.start()
        stop.wait()
        if listener.has_failed:
            _leave()
        listener.stop()


def _leave() -> NoReturn:
    """End at once: whoever restarts us gets what was acknowledged from the packs.

    A sync that failed must not be tried again, for the system may have dropped what it held.
    """
    time.sleep(LAST_WORDS_S)
    log("listen").critical("listen.ended", reason="STORAGE_IO", status=os.EX_IOERR)
    os._exit(os.EX_IOERR)


def _run_listeners(listen: Listen, config: Path | None, stop: threading.Event) -> None:
    """Any process of our user may share their port: one of another node would take its images."""
    from dicom_node.address import check_free
    from dicom_node.supervise import Role, Supervisor

    check_free("listen", listen.host, listen.port)
    supervisor = Supervisor()
    options = ["--config", str(config.absolute())] if config else []
    command = [sys.executable, "-P", "-m", "dicom_node", "listen", *options]
    try:
        for number in range(listen.processes):
            supervisor.start(Role(f"listen {number}", [*command, "--index", str(number)]))
        while not stop.wait(CHECK_S):
            supervisor.check()
    finally:
        supervisor.stop()


def run_sweep(settings: Settings) -> None:
    """Sweep at the settings' interval until told to stop."""
    from dicom_node.broker import CeleryBroker
    from dicom_node.catalog import configured
    from dicom_node.erasing import erasing
    from dicom_node.orphans import reaping
    from dicom_node.receive.inquiry import inquiring
    from dicom_node.sweep import Sweep

    stop = stop_event()
    broker = CeleryBroker(settings.broker_url)
    catalog = configured(settings.models)
    ledger = Ledger.open(settings.ledger_url)
    store = InstanceStore(settings.store_dir)
    sweep = Sweep(settings, ledger, store, broker, catalog.bundles)
    log("sweep").info("sweep.ready", count=len(catalog.bundles))
    sweep.reopen()
    tidying = reaping(ledger, store), erasing(ledger, store)
    with SignOfLife(ledger, "sweep"), inquiring(settings, ledger), tidying[0], tidying[1]:
        while not stop.wait(settings.sweep.interval_s):
            try:
                sweep.once()
            except LedgerBusy as busy:
                log("sweep").warning("sweep.postponed", reason=busy.code)
    sweep.close()


def run_web(settings: Settings) -> None:
    """Serve the page until told to stop."""
    import uvicorn

    from dicom_node.address import check_free
    from dicom_node.web.app import create_app
    from dicom_node.web.connections import LIMITS

    check_free("web", settings.web.host, settings.web.port)
    ledger = Ledger.open(settings.ledger_url)
    app = create_app(settings, ledger, InstanceStore(settings.store_dir))
    with SignOfLife(ledger, "web"):
        uvicorn.run(
            app,
            host=settings.web.host,
            port=settings.web.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            **LIMITS,
        )

"""Starts the demo in a temporary folder, sends the study, shows what returns, cleans up.

Everything is the real thing: listener, sweep, page and Celery worker are the processes that
``serve`` runs; only the archive and, where no redis-server is installed, the broker live here.
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.demo.follow import Trip, follow
from dicom_node.domain.errors import ConfigurationError, DicomNodeError, PeerUnreachable
from dicom_node.ledger import Ledger
from dicom_node.observe import set_up_logging
from dicom_node.redis_server import find_program, free_port
from dicom_node.send.command import dicom_files
from dicom_node.send.cstore import Peer, echo
from dicom_node.serve import running
from dicom_node.settings.log import Log
from dicom_node.settings.node import Settings
from dicom_node.settings.sources import load_settings
from dicom_node.supervise import Supervisor
from dicom_node.testing.pacs import FakePacs

SAMPLE_SEED = 7_000_001
"""Of a phantom that training never sees."""
QUIET_S = 2
START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Demo:
    """What runs."""

    settings: Settings
    archive: FakePacs
    ledger: Ledger
    supervisor: Supervisor


def run_demo(study: Path | None, output: Path | None, *, leave: bool) -> int:
    """Run the demo; returns the exit status: 0 when every promised object came back."""
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    set_up_logging(Log(format="text", level="ERROR"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicom-node-demo-")))
        try:
            demo = stack.enter_context(_started(folder, console))
            files = dicom_files(study) if study else sample_study(folder / "sample")
            trip = follow(demo.settings, demo.ledger, demo.archive, demo.supervisor, files, console)
            complete = _tell(demo, trip, sample=study is None, console=console)
            if output is not None:
                _keep(demo, trip, output, console)
            if not leave:
                _serve(demo, trip, console)
        except KeyboardInterrupt:
            console.print("\nThe demo has ended.")
            return 0
        except DicomNodeError as error:
            console.print(f"[bold red]{error}[/]")
            _print_log(folder, console)
            return 1
        return 0 if complete else 1


def sample_study(folder: Path) -> list[Path]:
    """A CT phantom with one planted lesion, as DICOM files."""
    from dicom_node.testing.phantom import phantom
    from dicom_node.testing.study import make_study, save_study

    return save_study(make_study(phantom(SAMPLE_SEED)), folder)


@contextmanager
def _started(folder: Path, console: Console) -> Iterator[Demo]:
    with ExitStack() as stack:
        archive = stack.enter_context(FakePacs(folder / "archive", commits=True))
        config = _write_config(folder, archive, _fallback_broker(stack, console))
        settings = load_settings(config)
        log = folder / "node.log"
        with console.status("starting listener, sweep, page and worker"):
            supervisor = stack.enter_context(running(settings, config, one_worker=True, output=log))
            _wait_for_listener(settings, supervisor)
        ledger = Ledger.open(settings.ledger_url)
        stack.callback(ledger.close)
        yield Demo(settings, archive, ledger, supervisor)


def _fallback_broker(stack: ExitStack, console: Console) -> str | None:
    """URL of an in-process server where redis-server is not installed."""
    if find_program():
        return None
    try:
        from dicom_node.demo.broker import in_process_broker
    except ImportError:
        raise ConfigurationError(
            "redis-server is not on PATH. Install it (Debian: apt install redis-server), or "
            "pip install dicom-node[demo] for an in-process stand-in"
        ) from None
    console.print(
        "[yellow]redis-server is not on PATH: an in-process broker takes its place for this demo. "
        "It is slow and not durable; the ledger is.[/]"
    )
    return stack.enter_context(in_process_broker())


def _write_config(folder: Path, archive: FakePacs, broker_url: str | None) -> Path:
    broker = f'[broker]\nurl = "{broker_url}"\n' if broker_url else ""
    config = folder / "dicom-node.toml"
    config.write_text(f"""
data_dir = "{folder / "data"}"
{broker}
[listen]
port = {free_port()}
[web]
port = {free_port()}
[completeness]
quiet_s = {QUIET_S}
[sweep]
interval_s = 0.2
[log]
format = "text"
[[destinations]]
name = "archive"
host = "{archive.host}"
port = {archive.port}
ae_title = "{archive.ae_title}"
""")
    return config


def _wait_for_listener(settings: Settings, supervisor: Supervisor) -> None:
    listen = settings.listen
    peer = Peer(listen.host, listen.port, listen.ae_title, "DEMO")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        supervisor.check()
        try:
            return echo(peer)
        except PeerUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _tell(demo: Demo, trip: Trip, *, sample: bool, console: Console) -> bool:
    """Print what came back; whether that is everything that was promised."""
    table = Table(title="What came back to the archive", title_justify="left", pad_edge=False)
    table.add_column("kind")
    table.add_column("series description")
    table.add_column("SOP class")
    table.add_column("bytes", justify="right")
    table.add_column("s after the last image", justify="right")
    for item in trip.returned:
        numbers = f"{item.size_bytes:,}", f"{item.after_s:.1f}"
        table.add_row(item.kind.label, item.series_description, item.sop_class, *numbers)
    console.print(table)
    for line in trip.summaries:
        console.print(f"[bold]{line}[/]", highlight=False)
    missing = trip.missing(sample=sample)
    for what in missing:
        console.print(f"[bold red]missing: {what}[/]", highlight=False)
    return not missing


def _keep(demo: Demo, trip: Trip, output: Path, console: Console) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for item in trip.returned:
        shutil.copyfile(item.path, output / f"{item.path.stem}-{item.kind.label.lower()}.dcm")
    store = demo.settings.store_dir
    for number, sha256 in enumerate(trip.reports, 1):
        name = "report.html" if number == 1 else f"report-{number}.html"
        shutil.copyfile(store / sha256[:2] / sha256, output / name)
    console.print(f"kept in {output}", highlight=False)


def _serve(demo: Demo, trip: Trip, console: Console) -> None:
    base = f"http://{demo.settings.web.host}:{demo.settings.web.port}"
    console.print(f"\nReport  {base}{trip.report_path}\nPage    {base}/\n\nCtrl-C ends the demo.")
    while True:
        demo.supervisor.check()
        time.sleep(0.5)


def _print_log(folder: Path, console: Console) -> None:
    log = folder / "node.log"
    if log.exists():
        tail = log.read_text(errors="replace").splitlines()[-20:]
        console.print("\n".join(["The node's last lines:", *tail]), markup=False, highlight=False)

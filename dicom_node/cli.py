"""``dicom-node``: the light command line. No command of it imports TensorFlow."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dicom_node.domain.errors import ConfigurationError, DicomNodeError
from dicom_node.settings.node import Settings
from dicom_node.settings.sources import load_settings, origins

if TYPE_CHECKING:
    from dicom_node.ledger import Ledger

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="A DICOM AI node: studies in by C-STORE, coded and measured explanations back to the "
    "PACS. For research; not a medical device.\n\nStart with [bold]dicom-node demo[/bold].",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the settings.")
app.add_typer(config_app, name="config")
console = Console()

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; DICOM_NODE__SECTION__KEY overrides it."),
]


def main() -> None:
    """Entry point: every error of ours is one line, and exit status 2 for wrong settings."""
    try:
        app()
    except ConfigurationError as error:
        print(f"dicom-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except DicomNodeError as error:
        print(f"dicom-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        advice = "check data_dir, and who may write there"
        print(f"dicom-node: {error.filename}: {error.strerror}; {advice}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def _settings(config: Path | None) -> Settings:
    from dicom_node.observe import set_up_logging

    settings = load_settings(config)
    set_up_logging(settings.log)
    return settings


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the whole node on this machine: listener, sweep, page, workers, Redis."""
    from dicom_node.roles import stop_event
    from dicom_node.serve import serve as run

    settings = _settings(config)
    _welcome(settings)
    run(settings, config, stop_event())


def _welcome(settings: Settings) -> None:
    table = Table.grid(padding=(0, 2))
    listen, web = settings.listen, settings.web
    table.add_row("Send studies to", f"{listen.ae_title}@{listen.host}:{listen.port}")
    table.add_row("Page", f"http://{web.host}:{web.port}")
    table.add_row("Data", str(settings.data_dir.absolute()))
    names = ", ".join(d.name for d in settings.destinations)
    table.add_row("Results go to", names or "nobody yet: set a [[destinations]]")
    Console(stderr=True, markup=False).print(table)


@app.command()
def listen(
    config: ConfigOption = None,
    index: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
) -> None:
    """Run the listener alone: C-STORE and C-ECHO in."""
    from dicom_node.roles import run_listener

    run_listener(_settings(config), config, index)


@app.command()
def sweep(config: ConfigOption = None) -> None:
    """Run the sweep alone: close studies, open jobs, ring, free dead claims."""
    from dicom_node.roles import run_sweep

    run_sweep(_settings(config))


@app.command()
def web(config: ConfigOption = None) -> None:
    """Run the page alone."""
    from dicom_node.roles import run_web

    run_web(_settings(config))


@app.command()
def send(
    path: Annotated[Path, typer.Argument(exists=True, help="A DICOM file, or a folder of them.")],
    to: Annotated[str, typer.Option(help="AE@HOST:PORT")],
    calling: Annotated[str, typer.Option(help="Our AE title.")] = "DICOM_NODE",
) -> None:
    """Send DICOM files by C-STORE; exit status 1 when one did not arrive."""
    from dicom_node.send.command import send_files

    if not send_files(path, to, calling, console):
        raise typer.Exit(1)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(exists=True, help="A DICOM file, or a folder of them.")],
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on: take what comes into the folder once it has stopped changing, then move "
            "it to taken/ or refused/ inside it.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Take files as if they had been sent; exit status 1 when one was refused.

    The files stay where they are, unless --watch is given.
    """
    from dicom_node.receive import command

    intake = command.open_intake(_settings(config))
    if watch:
        from dicom_node.roles import stop_event

        command.watch(path, intake, stop_event())
    elif not command.import_files(path, intake, console):
        raise typer.Exit(1)


@app.command()
def echo(to: Annotated[str, typer.Argument(help="AE@HOST:PORT")]) -> None:
    """C-ECHO to a DICOM peer; exit status 1 when it does not answer."""
    from dicom_node.send.command import parse_address
    from dicom_node.send.cstore import echo as ask

    ask(parse_address(to, "DICOM_NODE"))
    console.print(f"{to} answers", markup=False)


@app.command()
def alive(
    role: Annotated[str, typer.Argument(help="listen, sweep, web, worker-analyse, ...")],
    config: ConfigOption = None,
) -> None:
    """Say whether a role of this host runs; exit status 1 when it has been silent for 45 s."""
    from dicom_node.alive import lives_here

    if not lives_here(_ledger(load_settings(config)), role):
        console.print(f"{role} is silent on this host", markup=False)
        raise typer.Exit(1)


@app.command()
def doctor(
    config: ConfigOption = None,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            help="List the SOP classes and transfer syntaxes that the listener accepts instead.",
        ),
    ] = False,
) -> None:
    """Say what this install can and cannot do; exit status 1 when the node will not work."""
    from dicom_node.doctor import Health, examine

    if classes:
        _list_accepted(load_settings(config))
        return
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    colors = {Health.OK: "green", Health.NOTE: "yellow", Health.BAD: "bold red"}
    bad = 0
    with console.status("examining"):
        for check in examine(load_settings(config)):
            mark = f"[{colors[check.health]}]{check.health}[/]"
            table.add_row(check.what, mark, Text(check.found), Text(check.advice))
            bad += check.health is Health.BAD
    console.print(table)
    if bad:
        raise typer.Exit(1)


def _list_accepted(settings: Settings) -> None:
    from pydicom.uid import UID

    from dicom_node.doctor import accepted

    titles = ("Transfer syntaxes", "SOP classes taken in them")
    for group in accepted(settings).items():
        for title, uids in zip(titles, group, strict=True):
            lines = [f"  {uid:<34}{UID(uid).name}" for uid in uids]
            console.print(title, *lines, "", sep="\n", soft_wrap=True, markup=False)


@app.command()
def verify(config: ConfigOption = None) -> None:
    """Hash every stored file again and compare it with the ledger; exit status 1 on a difference.

    Safe beside a running node: it only reads.
    """
    from dicom_node.store import InstanceStore
    from dicom_node.verify_command import show_problems

    settings = load_settings(config)
    if show_problems(_ledger(settings), InstanceStore(settings.store_dir), console):
        raise typer.Exit(1)


@app.command()
def remove(
    study: Annotated[str, typer.Argument(metavar="STUDY_INSTANCE_UID")],
    even_if_unsent: Annotated[
        bool,
        typer.Option(
            "--even-if-unsent",
            help="Also when a model still has to read it, or a result or a reason was not sent.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Remove one study now: its images, its results, and what names the patient in the ledger.

    Its bytes follow while the sweep runs: those in a pack that still fills once it is full or a
    day old, all others within the hour. What was sent elsewhere stays there.
    """
    from dicom_node.removing import remove_study

    settings = _settings(config)
    removed = remove_study(_ledger(settings), settings, study, even_if_unsent=even_if_unsent)
    what = f"{removed.instances} images, {removed.results} results"
    console.print(f"removed: {what}", markup=False)


def _ledger(settings: Settings) -> "Ledger":
    """Of a node that has run: an empty one that is made by a look at it would seem sound."""
    from dicom_node.ledger import Ledger
    from dicom_node.ledger.database import missing_file

    if missing := missing_file(settings.ledger_url):
        raise ConfigurationError(
            f"there is no ledger at {missing}: name the node's settings by --config, or start it"
        )
    return Ledger.open(settings.ledger_url)


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option(exists=True, help="Your own DICOM file or folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Keep the returned objects and the report here.")
    ] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="Leave when all is back, instead of serving the report.")
    ] = False,
) -> None:
    """Run the whole node, an archive and a sample study on this machine, and show what returns."""
    from dicom_node.demo.run import run_demo

    raise typer.Exit(run_demo(study, output, leave=leave))


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """Print the merged settings with where each comes from; secrets are masked."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for key, value, origin in origins(config):
        style = "dim" if origin == "default" else None
        table.add_row(key, Text(value), Text(origin), style=style)
    console.print(table)
